"""The routes, one module a noun; each has a `router`."""

from starlette.convertors import StringConvertor, register_url_convertor


class _Segment(StringConvertor):
    """A parameter of a path. What follows a colon is what is to be done with it, not a part of it:
    `GET /executions/{execution_id}` is no way to `/executions/{execution_id}:cancel`."""

    regex = "[^/:]+"


# For every path from here on.
register_url_convertor("str", _Segment())
