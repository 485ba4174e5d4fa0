"""API Gateway's HTTP API as events: a request as Lambda gets it (payload format 2.0), an answer as clients get it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from local.lambda_runtime import ACCOUNT

_API_ID = "local"

# Not in the documentation. Measured against AWS by the authors of ministack
# (github.com/ministackorg/ministack, pull request 766): these pass as text; all else, no content type and
# form fields included, comes as base64.
_TEXT_TYPES = {"application/json", "application/xml", "application/javascript"}


@dataclass(frozen=True)
class Request:
    """An HTTP request as it came in: the path as sent, header names in lower case, repeated headers apart."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    scheme: str = "http"
    protocol: str = "HTTP/1.1"

    def header(self, name: str) -> str:
        """The values of a header, joined; empty without one."""
        return ",".join(value for key, value in self.headers if key == name)


@dataclass(frozen=True)
class Response:
    """An HTTP response; headers apart, so that several cookies can be set."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def to_event(request: Request, segment: str) -> dict[str, Any]:
    """The event for a request, routed by its first path segment to `ANY /<segment>` or `ANY /<segment>/{proxy+}`."""
    rest = request.path.removeprefix(f"/{segment}").removeprefix("/")
    route = f"ANY /{segment}/{{proxy+}}" if rest else f"ANY /{segment}"
    host = request.header("host")
    now = datetime.now(UTC)
    headers = _joined(request.headers)
    cookies = headers.pop("cookie", None)
    forwarded = {
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": host.rpartition(":")[2] if ":" in host else "80",
        "x-forwarded-proto": request.scheme,
        "x-amzn-trace-id": f"Root=1-{int(now.timestamp()):08x}-{secrets.token_hex(12)}",
    }
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers | forwarded,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": _API_ID,
            "domainName": host,
            "domainPrefix": _API_ID,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent"),
            },
            "requestId": base64.urlsafe_b64encode(secrets.token_bytes(11)).decode(),
            "routeKey": route,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies is not None:
        event["cookies"] = [cookie.strip() for cookie in cookies.split(";")]
    if request.query:
        event["queryStringParameters"] = _joined(parse_qsl(request.query, keep_blank_values=True))
    if rest:
        event["pathParameters"] = {"proxy": rest}
    if request.body:
        event |= _encoded_body(request)
    return event


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Repeated names become one, their values joined with commas (cookies with their own separator)."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: (";" if name == "cookie" else ",").join(several) for name, several in values.items()}


def _encoded_body(request: Request) -> dict[str, Any]:
    media_type = request.header("content-type").partition(";")[0].strip().lower()
    if media_type.startswith("text/") or media_type in _TEXT_TYPES:
        try:
            return {"body": request.body.decode("utf-8"), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass  # said to be text, but it isn't: only base64 carries it unharmed
    return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}


def from_result(result: Any) -> Response:
    """The response for what a handler returned. Raises ValueError for what API Gateway could make nothing of.

    Without a `statusCode` the whole result is the body of a 200, as the payload format 2.0 has it.
    """
    if not isinstance(result, dict) or "statusCode" not in result:
        body = result if isinstance(result, str) else json.dumps(result)
        return Response(200, [("content-type", "application/json")], body.encode())
    headers = [(str(name).lower(), str(value)) for name, value in (result.get("headers") or {}).items()]
    headers += [("set-cookie", cookie) for cookie in result.get("cookies") or []]
    text = result.get("body") or ""
    if not isinstance(text, str):
        raise ValueError("the body of a handler's answer is a string")  # noqa: TRY004 - to callers it is one malformed answer
    content = base64.b64decode(text, validate=True) if result.get("isBase64Encoded") else text.encode()
    return Response(int(result["statusCode"]), headers, content)
