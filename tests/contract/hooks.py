"""What schemathesis can't do by itself: send lines of JSON, and tell which operations it reached."""

import json
import os

import schemathesis

told = set()


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


@schemathesis.hook
def after_call(_context, case, _response):
    operation = f"{case.operation.method.upper()} {case.operation.path}"
    if operation not in told:
        told.add(operation)
        with open(os.environ["MILLRACE_CONTRACT_REACHED"], "a") as reached:
            print(operation, file=reached)
