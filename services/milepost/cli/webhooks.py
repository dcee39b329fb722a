"""`milepost webhooks`: the service that sends them."""

from typing import Final

from cyclopts import App

from milepost.cli import services

app: Final = App(
    name="webhooks",
    help="""Send completions to the endpoints of tenants, until SIGTERM or Ctrl-C.

    Prints one JSON line when it reads completions and sends. Start as many as you like: they share
    the work.

    Example: `MILEPOST_WEBHOOK_KEYS=... milepost webhooks`
    """,
)
app.default(services.webhooks)
