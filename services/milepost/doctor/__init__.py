"""`milepost doctor`: looks at a stack, changes nothing, and says what is wrong and what heals it."""

from milepost.doctor.checks import CHECKS, Check
from milepost.doctor.examination import Report, examine
from milepost.doctor.findings import Finding, Severity

__all__ = ["CHECKS", "Check", "Finding", "Report", "Severity", "examine"]
