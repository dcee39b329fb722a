"""The HTTP API: answers from the projections, requests and cancellations to the events topic.

`app.create_app` makes the application, `server.serve` runs it. The parts are made and connected in
`context.py`; routes are in `routes/`, one module a noun.
"""

from milepost.api.app import create_app
from milepost.api.server import CannotServe, serve

__all__ = ["CannotServe", "create_app", "serve"]
