"""Users for a local stack: people who can sign in, with access tokens that last a working day."""

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from local.supabase.bootstrap import create_user
from local.supabase.tokens import TokenSigner, mint_user_token

if TYPE_CHECKING:
    from local.stack_settings import HostedSupabase

TOKEN_LIFETIME_SECONDS = 12 * 3600


@dataclass(frozen=True)
class User:
    """Someone who can sign in."""

    id: UUID
    email: str
    password: str = field(repr=False)
    access_token: str = field(repr=False)

    def as_json(self) -> dict[str, str]:
        """As `stack.json` lists them."""
        return {
            "id": str(self.id),
            "email": self.email,
            "access_token": self.access_token,
            "password": self.password,
        }


class Users(Protocol):
    """Makes users."""

    def create(self, email: str) -> User:
        """A new user with a confirmed address, a password and an access token."""
        ...


class StandInUsers:
    """Users of the stand-in: rows in `auth.users`, tokens signed with its key."""

    def __init__(self, database_url: str, signer: TokenSigner) -> None:
        self._database_url = database_url
        self._signer = signer

    def create(self, email: str) -> User:
        """A new user. Raises psycopg.errors.UniqueViolation when the address is taken."""
        password = secrets.token_urlsafe(12)
        user_id = create_user(self._database_url, email=email, password=password)
        return User(user_id, email, password, self.token(user_id, email))

    def token(self, user_id: UUID, email: str, *, lifetime_seconds: int = TOKEN_LIFETIME_SECONDS) -> str:
        """Another access token of the user."""
        return mint_user_token(self._signer, user_id=user_id, email=email, lifetime_seconds=lifetime_seconds)


class HostedUsers:
    """Users of a real project: made through its admin API, signed in with their password.

    Their tokens last as long as the project says, an hour unless it was changed.
    """

    def __init__(self, project: "HostedSupabase") -> None:
        self._project = project

    def create(self, email: str) -> User:
        """A new user. Raises supabase_auth.errors.AuthError when the project refuses, e.g. a taken address."""
        from supabase import create_client  # 0.3 s that only a stack over a real project pays

        password = secrets.token_urlsafe(12)
        admin = create_client(self._project.url, self._project.secret_key)
        made = admin.auth.admin.create_user({"email": email, "password": password, "email_confirm": True})
        visitor = create_client(self._project.url, self._project.publishable_key)
        session = visitor.auth.sign_in_with_password({"email": email, "password": password}).session
        if session is None:
            raise RuntimeError(f"{email} was made but could not sign in")
        return User(UUID(made.user.id), email, password, session.access_token)
