"""What goes wrong, in words for the person who must put it right. No aiokafka or HTTP error escapes."""


class MilepostError(Exception):
    """Every error of the SDK. Its text says what happened, where, and what to do."""


class BrokerUnavailable(MilepostError):
    """No Kafka broker answered in time.

    A record that was being published may still arrive: publishing it again with the same event id
    is safe.
    """

    def __init__(self, servers: str, seconds: float, reason: str | None = None) -> None:
        super().__init__(
            f"no Kafka broker answered at {servers} within {seconds:g} s"
            + (f": {reason}" if reason else ".")
            + " Is it running? MILEPOST_KAFKA_BOOTSTRAP_SERVERS says where to look."
        )
        self.servers = servers
        self.seconds = seconds


class BrokerRefused(MilepostError):
    """The broker answered with an error that trying again does not cure, e.g. missing rights."""

    def __init__(self, servers: str, reason: str) -> None:
        remedy = (
            " `milepost topics acls` prints the rights that each service needs."
            if "uthorizationFailed" in reason
            else ""
        )
        super().__init__(f"the Kafka broker at {servers} refused: {reason}{remedy}")
        self.servers = servers
        self.reason = reason


class TopicMissing(MilepostError):
    """The broker answers but does not have this topic."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__(
            f"the Kafka broker at {servers} has no topic {topic}. "
            "Run `milepost topics apply`, or correct MILEPOST_TOPIC_PREFIX. "
            "A user without rights is shown no topics: see `milepost topics acls`."
        )
        self.servers = servers
        self.topic = topic


class InvalidEvent(MilepostError, ValueError):
    """The event breaks the contract; `field` says where. Nothing was published."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class RecordTooLarge(InvalidEvent):
    """The event is larger than one record may be (`limit`, in bytes). Nothing was published."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            "value",
            f"the event has {size:,} bytes, a record at most {limit:,}. "
            "Send fewer resources or log lines at once, or a log_link.",
        )
        self.size = size
        self.limit = limit


class ApiUnavailable(MilepostError):
    """The HTTP API did not answer, or only with a passing trouble (429, 502, 503, 504)."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the Milepost API at {url} is unavailable: {reason}. "
            "Is it running? MILEPOST_API_URL says where to look."
        )
        self.url = url
        self.reason = reason


class ApiError(MilepostError):
    """The API answered with an error (RFC 9457 problem+json): `status`, `type`, `title`, `detail`."""

    def __init__(self, status: int, type_: str, title: str, detail: str | None) -> None:
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.type = type_
        self.title = title
        self.detail = detail


class InvalidSignature(MilepostError):
    """A request at a webhook endpoint is not one that Milepost made, or not now."""

    def __init__(self) -> None:
        super().__init__(
            "this is not a message that Milepost signed for this endpoint within the last five minutes. "
            "Answer 400 and do nothing. If every message is refused: is it the endpoint's own secret, "
            "the body as it came, and the clock right?"
        )


class WaitTimeout(MilepostError, TimeoutError):
    """The execution was not over in time; `state` is the last one seen (None: never seen)."""

    def __init__(self, execution_id: str, seconds: float, state: str | None) -> None:
        super().__init__(
            f"execution {execution_id} is {state or 'not known'} after {seconds:g} s of waiting"
        )
        self.execution_id = execution_id
        self.seconds = seconds
        self.state = state
