"""Who sends a request: what Supabase's API gateway and PostgREST together make of its headers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from local.supabase.errors import JSON_CONTENT_TYPE, ApiError
from local.supabase.tokens import Claims, TokenVerifier


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an Authorization header; None when it is missing or of another scheme."""
    if authorization is None:
        return None
    scheme, _, rest = authorization.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True)
class Caller:
    """Who sends a request: the database role, and the claims that SQL sees."""

    role: str
    claims: Claims

    @cached_property
    def claims_text(self) -> str:
        """The claims as JSON."""
        return json.dumps(self.claims, ensure_ascii=False)


ANON_ROLE = "anon"
SERVICE_ROLE = "service_role"
_KNOWN_AT_MOST = 1000


class GatewayError(ApiError):
    """A refusal by the gateway in front: its body has a message and a hint only."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(401, "gateway", message, hint=hint)

    def body(self) -> bytes:
        """Return the gateway's JSON body."""
        return json.dumps({"message": self.message, "hint": self.hint}).encode()

    def response_headers(self) -> dict[str, str]:
        """Return the headers that go with the body."""
        return {"content-type": JSON_CONTENT_TYPE}


class Gateway:
    """Decides who a caller is, as Supabase's API gateway and PostgREST do together.

    Without API keys configured it is PostgREST alone: `apikey` means nothing, the bearer decides. With them, every
    request has to carry an `apikey`, and an opaque key is exchanged for its role.
    Source: https://supabase.com/docs/guides/api/api-keys.
    """

    def __init__(
        self, verifier: TokenVerifier, *, publishable_key: str | None = None, secret_key: str | None = None
    ) -> None:
        self._verifier = verifier
        self._callers: dict[str, tuple[Claims, Caller]] = {}
        self._roles = {key: role for key, role in ((publishable_key, ANON_ROLE), (secret_key, SERVICE_ROLE)) if key}

    def check_api_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the role of the request's API key, None where no keys are in use. Raises `ApiError` 401."""
        if not self._roles:
            return None
        key = headers.get("apikey")
        if key is None:
            raise GatewayError("No API key found in request", "No `apikey` request header or url param was found.")
        if (role := self._roles.get(key)) is not None:
            return role
        try:
            legacy = self._verifier.verify(key).get("role")
        except ApiError:
            legacy = None
        if legacy not in (ANON_ROLE, SERVICE_ROLE):
            raise GatewayError("Invalid API key", "Double check your API key.")
        return str(legacy)

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller; header names are in lower case. Raises `ApiError` 401."""
        key_role = self.check_api_key(headers)
        token = bearer_token(headers.get("authorization"))
        if key_role is not None and (token is None or token in self._roles):
            role = key_role if token is None else self._roles[token]
            return Caller(role, {"role": role})
        if token is None:
            return Caller(ANON_ROLE, {"role": ANON_ROLE})
        claims = self._verifier.verify(token)
        caller = self._callers.get(token)
        if caller is None or caller[0] is not claims:
            claimed = claims.get("role", ANON_ROLE)
            role = claimed if isinstance(claimed, str) else json.dumps(claimed)
            caller = claims, Caller(role, {**claims, "role": role})
            if len(self._callers) >= _KNOWN_AT_MOST:
                self._callers.clear()
            self._callers[token] = caller
        return caller[1]
