"""Calls the handlers as Lambda does, in this process: for what no HTTP request can bring about."""

import asyncio
import importlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from functions.shared import database, secrets, settings, stripe_gateway
from local.http_events import Request, to_event
from local.lambda_runtime import LambdaFunction
from local.stack import LocalStack
from local.stack_settings import base_environment

Json = dict[str, Any]


def _forget() -> None:
    """A cold start: what a process keeps between invocations is gone."""
    if database._http.cache_info().currsize:
        database._http().close()
    if stripe_gateway._gateway.cache_info().currsize:
        stripe_gateway.gateway()._client._requestor._get_http_client().close()  # type: ignore[no-untyped-call]  # the SDK's
    for kept in (settings._read, stripe_gateway._gateway, database._http):
        kept.cache_clear()
    secrets.forget()


@contextmanager
def cold_functions(stack: LocalStack, **changes: str) -> Iterator[None]:
    """Within the block this process is a Lambda environment of the stack, with these variables changed."""
    with pytest.MonkeyPatch.context() as patch:
        past_proxies = {name: base_environment()[name] for name in ("NO_PROXY", "no_proxy")}
        for name, value in (past_proxies | stack.environment | changes).items():
            patch.setenv(name, value)
        _forget()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)  # what Mangum expects to find
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            _forget()


def invoke(handler: str, event: Json, seconds: float = 29.0) -> Json:
    """Call `package.module:attribute` with an event and so much time to live; the answer went through JSON."""
    module, _, attribute = handler.partition(":")
    function = LambdaFunction(handler, getattr(importlib.import_module(module), attribute), seconds)
    with warnings.catch_warnings():
        # Stripe's SDK still sends its bodies by `data=`, and takes httpx's complaint of that for a lost connection.
        warnings.filterwarnings("ignore", message="Use 'content=", category=DeprecationWarning)
        answer: Json = function.invoke(event)
    return answer


def http_event(method: str, path: str, body: Any = None, **headers: str) -> Json:
    """An event of API Gateway's HTTP API."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, path, "", [("host", "api.example.com"), *given.items()], content, "192.0.2.7")
    return to_event(request, path.split("/")[1])


def sqs_event(*bodies: Any) -> Json:
    """An event of Lambda's poller, one record a body; those that are no text become JSON."""
    return {
        "Records": [
            {
                "messageId": str(uuid4()),
                "receiptHandle": "handle",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:autobook-charges",
                "awsRegion": "eu-central-1",
            }
            for body in bodies
        ]
    }
