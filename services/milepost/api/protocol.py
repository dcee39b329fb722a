"""HTTP/1.1 as uvicorn speaks it, and a problem document for what is no HTTP."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from milepost.api.problems import MALFORMED_REQUEST, Problem, response


class Protocol(HttpToolsProtocol):
    """Answers what never becomes a request: a broken line, or a path longer than 64 KiB."""

    def send_400_response(self, msg: str) -> None:
        """Say so, and close the connection."""
        answer = response(Problem(MALFORMED_REQUEST, msg))
        headers = [*answer.raw_headers, (b"connection", b"close")]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(
            b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])
        )
        self.transport.close()
