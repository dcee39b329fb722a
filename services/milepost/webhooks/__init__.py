"""Webhooks: terminal states are sent to the endpoints of tenants, signed, until they arrive."""
