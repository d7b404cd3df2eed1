"""What schemathesis can't do by itself: send lines of JSON."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""
