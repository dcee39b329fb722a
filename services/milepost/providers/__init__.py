"""Providers: what turns a system's own doings into Milepost events. `process` runs commands."""
