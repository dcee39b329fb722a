"""Measures Milepost on a real broker and database on this machine: `make bench`.

Figures of one run may be compared with each other, not with those of another run: machines drift.
The limit writes the very same rows from memory, so its ratio is what can be kept.
"""
