"""The catalogue of standard failure codes: what they mean, whose side they are on, what to do next.

A publisher may report any code. A standard one spares it the category and the origin (the SDK fills
them in), and spares whoever reads the failure a search: the view of a failed execution has the
catalogue's `next_step`. Published as `failures.json`. A published code keeps its category and origin.
"""

from typing import Final, NamedTuple

from milepost.schemas.values import Category, Origin

_RETRY: Final = Category.RETRIABLE
_CHANGE: Final = Category.NON_RETRIABLE
_ASK: Final = Category.REQUIRES_MANUAL_INTERVENTION
_TENANT: Final = Origin.TENANT
_PROVIDER: Final = Origin.PROVIDER
_PLATFORM: Final = Origin.PLATFORM


class StandardFailure(NamedTuple):
    """One entry of the catalogue; `meaning` and `next_step` are sentences for people."""

    code: str
    category: Category
    origin: Origin
    meaning: str
    next_step: str


def standard(code: str) -> StandardFailure | None:
    """The entry of this code; None where the catalogue does not know it."""
    return _BY_CODE.get(code)


CATALOGUE: Final[tuple[StandardFailure, ...]] = (
    # What was asked for cannot be done as it was asked.
    StandardFailure(
        "invalid_parameters", _CHANGE, _TENANT,
        "The provider refuses the parameters of the request.",
        "Correct the parameters that the message names and request the operation again.",
    ),
    StandardFailure(
        "unsupported", _CHANGE, _TENANT,
        "The provider cannot do this operation, or not in this region.",
        "Choose another operation, size or region that the provider offers.",
    ),
    StandardFailure(
        "policy_denied", _CHANGE, _TENANT,
        "A policy of the organisation forbids what was asked for.",
        "Change the request to what the policy allows, or have an exception granted first.",
    ),
    StandardFailure(
        "image_not_found", _CHANGE, _TENANT,
        "The image, package or artefact to run does not exist.",
        "Check its name and tag, publish it where it is missing, then request the operation again.",
    ),
    StandardFailure(
        "resource_not_found", _CHANGE, _TENANT,
        "A resource that the operation works on does not exist.",
        "Check its id; where somebody deleted it, provision it again.",
    ),
    StandardFailure(
        "resource_conflict", _CHANGE, _TENANT,
        "A resource of this name exists already, or is in a state that does not allow the operation.",
        "Choose another name, or bring the existing resource into the state that is needed.",
    ),
    StandardFailure(
        "dependency_failed", _CHANGE, _TENANT,
        "Another execution that this one depends on did not succeed.",
        "See the failure of the linked execution, repair that one, then retry this one.",
    ),
    # What was started did not stay up.
    StandardFailure(
        "health_check_failed", _CHANGE, _TENANT,
        "What was started never became healthy.",
        "Read its last log lines and correct the workload or its health check.",
    ),
    StandardFailure(
        "out_of_memory", _CHANGE, _TENANT,
        "The workload used more memory than it may.",
        "Give it more memory, or make it use less, and request the operation again.",
    ),
    StandardFailure(
        "out_of_disk", _CHANGE, _TENANT,
        "The workload filled its disk.",
        "Give it a larger disk, or make it write less, and request the operation again.",
    ),
    StandardFailure(
        "exit_status", _CHANGE, _TENANT,
        "The command ended with an exit status other than 0.",
        "Read the last lines of its output; the status is in the details.",
    ),
    StandardFailure(
        "ended_by_signal", _CHANGE, _TENANT,
        "The command was ended by a signal that Milepost did not send.",
        "After SIGKILL see whether the host ran out of memory, else look for a crash in the output.",
    ),
    StandardFailure(
        "command_not_found", _CHANGE, _TENANT,
        "There is no such command where the provider runs.",
        "Check its spelling and the PATH there, or install it.",
    ),
    StandardFailure(
        "command_not_executable", _CHANGE, _TENANT,
        "The command exists and may not be executed.",
        "Give the file its execute permission, and check its first line or its architecture.",
    ),
    # Somebody has to act first.
    StandardFailure(
        "quota_exceeded", _ASK, _TENANT,
        "The tenant's account has no quota left for what was asked for.",
        "Release resources or have the quota raised, then retry.",
    ),
    StandardFailure(
        "permission_denied", _ASK, _TENANT,
        "The credentials are valid and do not allow the operation.",
        "Have the permission that the message names granted, then retry.",
    ),
    StandardFailure(
        "credentials_invalid", _ASK, _TENANT,
        "The credentials for the provider are missing, wrong or expired.",
        "Renew the credentials, then retry.",
    ),
    StandardFailure(
        "rollback_failed", _ASK, _PROVIDER,
        "Going back to the former state failed; the resources are between two states.",
        "Look at the resources that the execution reports and bring them into order by hand.",
    ),
    StandardFailure(
        "cleanup_failed", _ASK, _PROVIDER,
        "Resources could not be released and were left behind.",
        "Release what `milepost resources orphans` lists, by a deprovision or by hand.",
    ),
    StandardFailure(
        "state_unknown", _ASK, _PROVIDER,
        "The provider was lost in the middle; nobody knows whether the operation took effect.",
        "Compare the provider's own view with the resources reported before anything is retried.",
    ),
    # It passes.
    StandardFailure(
        "capacity_unavailable", _RETRY, _PROVIDER,
        "The provider has no capacity of this kind in this place now.",
        "Retry later, or ask for another size, zone or region.",
    ),
    StandardFailure(
        "rate_limited", _RETRY, _PROVIDER,
        "The provider refuses more calls for now.",
        "Retry after a pause that grows with each attempt.",
    ),
    StandardFailure(
        "provider_unavailable", _RETRY, _PROVIDER,
        "The provider did not answer, or answered that it is unavailable.",
        "See the provider's status page and retry later.",
    ),
    StandardFailure(
        "provider_internal_error", _RETRY, _PROVIDER,
        "The provider failed for reasons of its own.",
        "Retry; where it fails again, take the provider's code and request id to its support.",
    ),
    StandardFailure(
        "image_unavailable", _RETRY, _PROVIDER,
        "The image exists and could not be fetched in time.",
        "Retry; where it fails again, check the registry and its limits.",
    ),
    StandardFailure(
        "network_unreachable", _RETRY, _PROVIDER,
        "Something that the operation needs could not be reached over the network.",
        "Check routes, firewalls and names on the way to what the message names, then retry.",
    ),
    StandardFailure(
        "timed_out", _RETRY, _PROVIDER,
        "The operation did not end in the time that it had.",
        "See what it left behind, then retry, with more time where it was making progress.",
    ),
    StandardFailure(
        "preempted", _RETRY, _PROVIDER,
        "The provider took the capacity back, as it may with spot or preemptible capacity.",
        "Retry, on capacity that is not taken back where it matters.",
    ),
    StandardFailure(
        "host_lost", _RETRY, _PROVIDER,
        "The machine below the workload failed or went away.",
        "Retry; the provider chooses another machine.",
    ),
    StandardFailure(
        "state_locked", _RETRY, _TENANT,
        "Another operation holds the lock on the same resources.",
        "Wait for that operation to end, then retry.",
    ),
    StandardFailure(
        "heartbeat_lost", _RETRY, _PLATFORM,
        "Whoever ran the execution stopped reporting and was given up.",
        "See what it left behind, then retry.",
    ),
    StandardFailure(
        "platform_error", _ASK, _PLATFORM,
        "The provisioning platform itself failed; neither the request nor the provider is at fault.",
        "Tell the platform's operators the execution id.",
    ),
)  # fmt: skip

_BY_CODE: Final = {entry.code: entry for entry in CATALOGUE}
