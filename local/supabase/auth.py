"""Supabase Auth, as far as users with passwords go: sign in, refresh, who am I, sign out.

Source: https://supabase.com/docs/reference/self-hosting-auth/introduction, the error codes of
https://supabase.com/docs/guides/auth/debugging/error-codes, and supabase/auth `internal/api`.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from time import time
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from local.supabase.database import Pool
from local.supabase.errors import ApiError
from local.supabase.gateway import bearer_token
from local.supabase.passwords import verify_password
from local.supabase.settings import Settings
from local.supabase.tokens import Claims, TokenVerifier, mint_user_token

_API_VERSION_HEADER = "x-supabase-api-version"
_CODES_SINCE = "2024-01-01"

_USER_COLUMNS = (
    "id, aud, role, email, phone, encrypted_password, email_confirmed_at, phone_confirmed_at, confirmed_at, "
    "last_sign_in_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at, banned_until, is_anonymous"
)


class AuthError(Exception):
    """A refusal: status, stable code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def answer(self, headers: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
        """Return the JSON body and its headers; clients that name an API version get the newer form."""
        if headers.get(_API_VERSION_HEADER, "") >= _CODES_SINCE:
            return {"code": self.code, "message": str(self)}, {_API_VERSION_HEADER: _CODES_SINCE}
        return {"code": self.status, "error_code": self.code, "msg": str(self)}, {}


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment is not None else None


def _described(user: DictRow) -> dict[str, object]:
    """Return a user as the API shows it: no password, no tokens."""
    return {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"],
        "phone": user["phone"] or "",
        "email_confirmed_at": _text(user["email_confirmed_at"]),
        "confirmed_at": _text(user["confirmed_at"]),
        "last_sign_in_at": _text(user["last_sign_in_at"]),
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": [],
        "created_at": _text(user["created_at"]),
        "updated_at": _text(user["updated_at"]),
        "is_anonymous": user["is_anonymous"],
    }


class Auth:
    """Answers requests to `/auth/v1`; blocking, safe to use from many threads."""

    def __init__(self, settings: Settings, pool: Pool, verifier: TokenVerifier) -> None:
        self._settings = settings
        self._pool = pool
        self._verifier = verifier

    def jwks(self) -> dict[str, object]:
        """Return the public keys; none when tokens are signed with the shared secret."""
        key = self._settings.signing_key
        return {"keys": [key.public_jwk()] if key is not None else []}

    def token(self, grant_type: str, body: Mapping[str, Any]) -> dict[str, object]:
        """Return a session for a password or a refresh token. Raises `AuthError`, `ApiError`, `psycopg.Error`."""
        with self._pool.connection() as connection, connection.transaction():
            if grant_type == "password":
                return self._by_password(connection, body)
            if grant_type == "refresh_token":
                return self._by_refresh_token(connection, str(body.get("refresh_token", "")))
        raise AuthError(400, "invalid_credentials", "unsupported_grant_type")

    def user(self, headers: Mapping[str, str]) -> dict[str, object]:
        """Return the caller. Raises `AuthError`, `ApiError`, `psycopg.Error`."""
        with self._pool.connection() as connection:
            _, user = self._authenticate(connection, headers)
            return _described(user)

    def logout(self, headers: Mapping[str, str], scope: str) -> None:
        """End the caller's sessions: `global` all, `local` this one, `others` all but this one."""
        with self._pool.connection() as connection, connection.transaction():
            claims, user = self._authenticate(connection, headers)
            if scope not in ("global", "local", "others"):
                raise AuthError(400, "validation_failed", f'Unsupported logout scope "{scope}"')
            connection.execute(
                "delete from auth.sessions where user_id = %(user)s and "
                "(%(scope)s = 'global' or (%(scope)s = 'local') = (id = %(session)s))",
                {"user": user["id"], "scope": scope, "session": claims.get("session_id")},
            )

    def _by_password(self, connection: Connection[Any], body: Mapping[str, Any]) -> dict[str, object]:
        email, password = body.get("email"), body.get("password")
        if not isinstance(email, str) or not isinstance(password, str):
            raise AuthError(400, "validation_failed", "missing email or phone")
        user = _find(connection, "email = %s and not is_sso_user", email.lower())
        if user is None or not verify_password(password, user["encrypted_password"] or ""):
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        _check_not_banned(user)
        connection.execute("update auth.users set last_sign_in_at = now() where id = %s", [user["id"]])
        session_id = uuid4()
        connection.execute(
            "insert into auth.sessions (id, user_id, created_at, updated_at) values (%s, %s, now(), now())",
            [session_id, user["id"]],
        )
        return self._session(connection, user, session_id, parent=None)

    def _by_refresh_token(self, connection: Connection[Any], token: str) -> dict[str, object]:
        row = connection.execute(
            "select user_id::uuid, session_id, revoked from auth.refresh_tokens where token = %s for update", [token]
        ).fetchone()
        if row is None:
            message = "Invalid Refresh Token: Refresh Token Not Found"
            raise AuthError(400, "refresh_token_not_found", message)
        if row[2]:
            raise AuthError(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
        user = _find(connection, "id = %s", row[0])
        if user is None:
            raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
        _check_not_banned(user)
        connection.execute(
            "update auth.refresh_tokens set revoked = true, updated_at = now() where token = %s", [token]
        )
        return self._session(connection, user, row[1], parent=token)

    def _session(
        self, connection: Connection[Any], user: DictRow, session_id: UUID, *, parent: str | None
    ) -> dict[str, object]:
        refresh_token = secrets.token_urlsafe(16)
        connection.execute(
            "insert into auth.refresh_tokens (token, user_id, session_id, parent, revoked, created_at, updated_at) "
            "values (%s, %s, %s, %s, false, now(), now())",
            [refresh_token, str(user["id"]), session_id, parent],
        )
        lifetime, now = self._settings.token_lifetime_seconds, int(time())
        access_token = mint_user_token(
            self._settings.signer,
            user_id=user["id"],
            email=user["email"],
            lifetime_seconds=lifetime,
            session_id=session_id,
            app_metadata=user["raw_app_meta_data"],
            user_metadata=user["raw_user_meta_data"],
            now=now,
        )
        return {
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": lifetime,
            "expires_at": now + lifetime,
            "refresh_token": refresh_token,
            "user": _described(user),
        }

    def _authenticate(self, connection: Connection[Any], headers: Mapping[str, str]) -> tuple[Claims, DictRow]:
        token = bearer_token(headers.get("authorization"))
        if not token:
            raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            claims = self._verifier.verify(token)
        except ApiError as error:
            raise AuthError(403, "bad_jwt", f"invalid JWT: {error.message}") from None
        try:
            user_id = UUID(str(claims.get("sub")))
        except ValueError:
            raise AuthError(403, "bad_jwt", "invalid claim: missing sub claim") from None
        user = _find(connection, "id = %s", user_id)
        if user is None:
            raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
        if session_id := claims.get("session_id"):
            found = connection.execute("select from auth.sessions where id = %s", [session_id]).fetchone()
            if found is None:
                message = "Session from session_id claim in JWT does not exist"
                raise AuthError(403, "session_not_found", message)
        return claims, user


def _find(connection: Connection[Any], condition: str, value: object) -> DictRow | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        query = f"select {_USER_COLUMNS} from auth.users where {condition} and deleted_at is null"  # noqa: S608  # columns and condition are ours
        return cursor.execute(query.encode(), [value]).fetchone()


def _check_not_banned(user: DictRow) -> None:
    if user["banned_until"] is not None and user["banned_until"] > datetime.now(UTC):
        raise AuthError(400, "user_banned", "User is banned")
