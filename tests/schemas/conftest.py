"""Hypothesis without a deadline: what else runs on the machine is no failure."""

from hypothesis import settings

settings.register_profile("milepost", deadline=None, print_blob=True)
settings.load_profile("milepost")
