"""Webhooks: terminal states are sent to the endpoints of tenants, signed, until they arrive."""

from milepost.webhooks.server import CannotServe, serve

__all__ = ["CannotServe", "serve"]
