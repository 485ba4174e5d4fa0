"""Who calls: a user with a Supabase access token, or a machine with a signature."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from functions.shared import signatures
from functions.shared.early import import_where_starts_are_copies
from functions.shared.problems import Problem
from functions.shared.settings import MachineSettings, read
from functions.shared.web import Call

TOKEN_LIMIT_BYTES = 8 * 1024
"""Supabase's tokens take about one kilobyte; API Gateway refuses headers above ten."""


@dataclass(frozen=True)
class User:
    """A signed-in user. The token is kept to be passed on, out of the repr."""

    id: UUID
    email: str | None
    token: "Token"


class Token(str):
    """An access token that does not show itself in a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Token(…)"


def user(call: Call[Any, Any]) -> User:
    """The user of the call's bearer token. Raises Problem: 401 without a valid one."""
    # Here, because PyJWT with its cryptography is slow to import and neither webhooks nor the queue need it.
    from functions.shared.tokens import verify

    header = call.headers.get("authorization")
    if not header:
        raise Problem("unauthenticated", headers={"WWW-Authenticate": "Bearer"})
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_LIMIT_BYTES or not token.isascii():
        raise Problem("invalid_token", headers={"WWW-Authenticate": "Bearer"})
    claims = verify(token)
    return User(claims.user_id, claims.email, Token(token))


def machine(call: Call[Any, Any]) -> None:
    """Let a machine's signed call pass. Raises Problem: 401 when the signature does not fit."""
    try:
        signatures.verify(
            call.headers.get("autobook-signature"),
            call.raw_body,
            read(MachineSettings).autobook_signing_secrets,
        )
    except signatures.SignatureInvalid as reason:
        raise Problem("machine_signature_invalid", str(reason)) from None


def user_or_machine(call: Call[Any, Any]) -> User | None:
    """The user, or None for a machine. A call with an Authorization header is a user's, whatever else it carries."""
    if "authorization" not in call.headers and "autobook-signature" in call.headers:
        machine(call)
        return None
    return user(call)


import_where_starts_are_copies("functions.shared.tokens")
