"""Callers of the HTTP API: a user with a token, a machine with a signature, or somebody with neither."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx

PATIENCE_SECONDS = 40.0
"""Longer than any function may take, so that a test meets the function's answer and not its own time-out."""


def connection(base_url: str) -> httpx.Client:
    """A client for the API (or a stand-in) that many threads may share, past every proxy of this machine."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx.Client(base_url=base_url, timeout=PATIENCE_SECONDS, limits=limits, trust_env=False)


def machine_signature(body: bytes, secret: str, timestamp: int | None = None) -> str:
    """`Autobook-Signature` as the contract words it, written without a look at our own code."""
    stamp = int(time.time()) if timestamp is None else timestamp
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


@dataclass(frozen=True)
class Caller:
    """One way to call the API. `token` makes a user of it, `signing_secret` a machine."""

    http: httpx.Client
    token: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)

    def over(self, http: httpx.Client) -> Self:
        """The same caller by another way, for instance through a gateway with other settings."""
        return replace(self, http=http)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request; a body that is not bytes goes as JSON."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if content else {}
        if self.token is not None:
            sent["authorization"] = f"Bearer {self.token}"
        if self.signing_secret is not None:
            sent["autobook-signature"] = machine_signature(content, self.signing_secret)
        return self.http.request(method, path, content=content, params=query, headers=sent | (headers or {}))

    def get(self, path: str, **query: Any) -> httpx.Response:
        """GET with query parameters."""
        return self.request("GET", path, query=query)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST; keyword arguments become headers (`idempotency_key=…`)."""
        return self.request("POST", path, body, headers={name.replace("_", "-"): v for name, v in headers.items()})

    def patch(self, path: str, body: Any) -> httpx.Response:
        """PATCH."""
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> httpx.Response:
        """DELETE."""
        return self.request("DELETE", path)


def ok(response: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that must have this status."""
    assert response.status_code == status, f"{response.request.method} {response.request.url.path}: {response.text}"
    return response.json() if response.content else None


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must be this refusal, in the form of RFC 9457."""
    assert response.status_code == status, f"{response.request.method} {response.request.url.path}: {response.text}"
    assert response.headers["content-type"].startswith("application/problem+json")
    problem: dict[str, Any] = response.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"].endswith(code)
    assert response.headers["x-request-id"]
    return problem
