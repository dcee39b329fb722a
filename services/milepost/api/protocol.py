"""HTTP/1.1 as uvicorn speaks it, with bounds, and a problem document for what is no HTTP."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from milepost.api.problems import HEAD_TOO_LARGE, MALFORMED_REQUEST, Problem, response

# Nobody has shown a token before these are read: they bound what a stranger's connection costs.
MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 128


class Protocol(HttpToolsProtocol):
    """Answers what never becomes a request: a broken line, a path longer than 64 KiB, and headers (or
    trailers) beyond the bounds."""

    # What has come since the last part of a request that was complete.
    _pending = 0

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that does not end."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(Problem(HEAD_TOO_LARGE, f"They may have {MAX_HEAD_BYTES:,} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Raises ValueError, which the parser makes an error of its own."""
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; how large that may be is for the route to say."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is over."""
        self._pending = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say so, and close the connection."""
        if self.headers is not None and len(self.headers) >= MAX_HEADERS:
            problem = Problem(HEAD_TOO_LARGE, f"There may be {MAX_HEADERS} of them.")
        else:
            problem = Problem(MALFORMED_REQUEST, msg)
        self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        answer = response(problem)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(
            b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])
        )
        self.transport.close()
