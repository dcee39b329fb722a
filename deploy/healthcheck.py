"""Whether the service in this container lives: status 0, or 1 and why.

The HTTP API answers on its own port, the processor and the webhook worker on the one for metrics.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

PORTS = (os.environ.get("MILEPOST_API_PORT", "8080"), os.environ["MILEPOST_METRICS_PORT"])


def problem(port: str) -> str | None:
    """What is wrong with the service on `port`, or None."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=2)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        return None if status == 200 else f"port {port} answers {status}"
    except (HTTPException, OSError) as error:
        return f"port {port}: {error}"
    finally:
        connection.close()


problems = [problem(port) for port in PORTS]
sys.exit("; ".join(filter(None, problems)) if all(problems) else 0)
