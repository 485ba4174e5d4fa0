"""Runs Lambda handlers as Lambda does: a context that counts down, an error that is logged and reported."""

import importlib
import importlib.util
import json
import logging
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from mangum import Mangum

REGION = "eu-central-1"
ACCOUNT = "123456789012"  # the account of all examples in AWS's documentation, and moto's
HTTP_TIMEOUT_SECONDS = 29.0
"""A second less than the longest that an HTTP API waits for its integration.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
"""

_logger = logging.getLogger(__name__)


class FunctionError(Exception):
    """The handler raised; Lambda would report `FunctionError: Unhandled` to whoever invoked it."""


@dataclass(frozen=True)
class LambdaContext:
    """What Lambda passes beside the event (docs.aws.amazon.com/lambda/latest/dg/python-context.html)."""

    function_name: str
    timeout_seconds: float
    memory_limit_in_mb: int
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    function_version: str = "$LATEST"
    log_stream_name: str = "local"
    client_context: None = None
    identity: None = None
    _started_at: float = field(default_factory=time.monotonic)

    @property
    def invoked_function_arn(self) -> str:
        """The function's ARN, of an account that nobody owns."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """Where CloudWatch would have the logs."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation; 0 when they are over."""
        left = self.timeout_seconds - (time.monotonic() - self._started_at)
        return max(0, int(left * 1000))


@dataclass(frozen=True)
class LambdaFunction:
    """A handler with what its deployment says of it."""

    name: str
    handler: Callable[[Any, Any], Any]
    timeout_seconds: float = HTTP_TIMEOUT_SECONDS
    memory_limit_in_mb: int = 512

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Call the handler with the event as it would arrive, and give its answer as it would leave: through JSON.

        Raises FunctionError when the handler raises or answers with what is no JSON.
        """
        context = LambdaContext(self.name, self.timeout_seconds, self.memory_limit_in_mb)
        try:
            return json.loads(json.dumps(self.handler(json.loads(json.dumps(event)), context)))
        except Exception as error:  # whatever a handler raises is for Lambda to report
            _logger.exception("%s: unhandled error, request %s", self.name, context.aws_request_id)
            raise FunctionError(f"{self.name}: {type(error).__name__}") from error


def http_functions(package: str = "functions") -> dict[str, LambdaFunction]:
    """The functions of a package that serve HTTP, by the first path segment that each answers.

    Every sub-package with a `handler` module whose `handler` is Mangum's is one; schedules and queue
    consumers have plain handlers, and no path.
    """
    found: dict[str, LambdaFunction] = {}
    root = importlib.import_module(package)
    for entry in pkgutil.iter_modules(root.__path__):
        if not entry.ispkg or importlib.util.find_spec(f"{package}.{entry.name}.handler") is None:
            continue
        module = importlib.import_module(f"{package}.{entry.name}.handler")
        handler = getattr(module, "handler", None)
        if isinstance(handler, Mangum):
            segment = entry.name.replace("_", "-")
            found[segment] = LambdaFunction(f"autobook-local-{segment}", handler)
    return found
