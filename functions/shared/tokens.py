"""Supabase access tokens, verified here (https://supabase.com/docs/guides/auth/jwts): signature by the project's JWKS
(ES256 or RS256, HS256 only where the legacy secret is configured), issuer, audience, expiry.
"""

import threading
import time
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import httpx
import jwt

from functions.shared.problems import Problem
from functions.shared.settings import UserSettings, read

LEEWAY_SECONDS = 10
"""Clocks of two well-kept machines differ by less."""
KEYS_LIVE_SECONDS = 600
"""As long as Supabase's own edge caches the key set."""
REFETCH_PAUSE_SECONDS = 30
"""An unknown key id makes us look for new keys, but forged tokens must not make us ask without end."""
FETCH_TIMEOUT_SECONDS = 3.0

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True)
class Claims:
    """What is read from a verified token."""

    user_id: UUID
    email: str | None


class KeySet:
    """The project's public keys by id, cached; safe for threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, None when the project has none. Raises Problem when the keys were never to be had."""
        with self._lock:
            now = time.monotonic()
            stale = now - self._fetched_at > KEYS_LIVE_SECONDS
            if (stale or key_id not in self._keys) and now - self._tried_at > REFETCH_PAUSE_SECONDS:
                self._tried_at = now
                self._fetch(now)
            if self._fetched_at == float("-inf"):
                raise Problem("database_unavailable", "The keys that sign tokens cannot be read.")
            return self._keys.get(key_id)

    def _fetch(self, now: float) -> None:
        try:
            answer = httpx.get(self._url, timeout=FETCH_TIMEOUT_SECONDS)
            answer.raise_for_status()
            document = answer.json()
            # A project that signs with a shared secret publishes no key (https://supabase.com/docs/guides/auth/signing-keys):
            # an answer like any other, by which a token with a key id is forged. PyJWT takes it for a broken one.
            keys = jwt.PyJWKSet.from_dict(document).keys if document["keys"] != [] else []
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return  # the keys we have go on being good; if there were never any, key() says so
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_at = now


@cache
def _key_set(issuer: str) -> KeySet:
    return KeySet(f"{issuer}/.well-known/jwks.json")


def verify(token: str) -> Claims:
    """The claims of a token that this project issued to a signed-in user. Raises Problem (401)."""
    settings = read(UserSettings)
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(
            token,
            _verification_key(header, settings),
            algorithms=[header["alg"]],
            audience="authenticated",
            issuer=settings.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "sub", "aud", "iss"], "enforce_minimum_key_length": False},
        )
        if claims.get("role") != "authenticated":
            raise Problem("invalid_token", headers=_CHALLENGE)
        email = claims.get("email")
        return Claims(UUID(claims["sub"]), email if isinstance(email, str) and email else None)
    except jwt.ExpiredSignatureError:
        raise Problem("token_expired", headers=_CHALLENGE) from None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise Problem("invalid_token", headers=_CHALLENGE) from None


def _verification_key(header: dict[str, object], settings: UserSettings) -> jwt.PyJWK | str:
    """The one key that a token's algorithm may be checked with: a public key never serves as an HMAC secret."""
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm == "HS256" and settings.supabase_jwt_secret is not None:
        return settings.supabase_jwt_secret.get_secret_value()
    if algorithm in ("ES256", "RS256") and isinstance(key_id, str):
        key = _key_set(settings.issuer).key(key_id)
        if key is not None and key.algorithm_name == algorithm:
            return key
    raise Problem("invalid_token", headers=_CHALLENGE)
