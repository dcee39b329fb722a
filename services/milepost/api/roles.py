"""Which role each route needs. A route that is not here is not served."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from milepost.api.access import Role


class Need(NamedTuple):
    """What a route asks for: a role (None: nothing, the route is open), `everywhere` for all tenants.

    `reads`: it changes nothing, whatever its method.
    """

    role: Role | None
    everywhere: bool = False
    reads: bool = False


_OPEN: Final = Need(None, reads=True)
_READ: Final = Need(Role.READER, reads=True)
_PUBLISH: Final = Need(Role.PUBLISHER)
_OPERATE: Final = Need(Role.OPERATOR)
_OVERSEE: Final = Need(Role.OPERATOR, reads=True)
_ADMINISTER: Final = Need(Role.ADMIN)
_LOOK_INTO: Final = Need(Role.ADMIN, reads=True)

# By the name of the route, which is its operation id in OpenAPI.
NEEDS: Final[Mapping[str, Need]] = {
    "healthz": _OPEN,
    "readyz": _OPEN,
    # Sums over all tenants, which name none of them.
    "metrics": _OPEN,
    "openapi": _OPEN,
    "request_execution": _PUBLISH,
    "cancel_execution": _PUBLISH,
    "read_execution": _READ,
    "list_executions": _READ,
    "look_up_executions": _READ,
    "publish_events": _PUBLISH,
    "stream_execution": _READ,
    "stream_tenant": _READ,
    "list_transitions": _READ,
    "list_resources": _READ,
    "list_events": _READ,
    "explain_event": _READ,
    "list_logs": _READ,
    "list_links": _READ,
    "read_tenant": _READ,
    "list_tenant_resources": _READ,
    "list_orphans": _READ,
    "look_up_resource": _READ,
    "create_webhook": _ADMINISTER,
    "change_webhook": _ADMINISTER,
    "delete_webhook": _ADMINISTER,
    # A look at a secret is worth a row of the audit.
    "read_webhook_secret": _ADMINISTER,
    "rotate_webhook_secret": _ADMINISTER,
    # Their addresses may have credentials in them.
    "list_webhooks": _OVERSEE,
    "read_webhook": _OVERSEE,
    "list_deliveries": _OVERSEE,
    "read_delivery": _OVERSEE,
    "test_webhook": _OPERATE,
    "redeliver_delivery": _OPERATE,
    "redeliver_webhook": _OPERATE,
    "create_api_key": _ADMINISTER,
    "list_api_keys": _LOOK_INTO,
    "revoke_api_key": _ADMINISTER,
    "list_audit": Need(Role.ADMIN, everywhere=True, reads=True),
    "list_tenant_audit": _LOOK_INTO,
}
