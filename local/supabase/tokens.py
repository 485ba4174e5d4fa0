"""Signs and verifies the tokens of Supabase: sign-in tokens of users, tokens of roles.

Source: https://supabase.com/docs/guides/auth/jwts, https://supabase.com/docs/guides/auth/jwt-fields, and PostgREST 13
`src/PostgREST/Auth.hs` for what is checked in which order and how it is refused.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import time
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from local.supabase.errors import invalid_token

Claims = dict[str, Any]

_SKEW_SECONDS = 30  # PostgREST's tolerance for exp, nbf and iat
_CACHE_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """An ES256 key pair (NIST P-256) with its key id."""

    key_id: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key."""
        return cls(key_id=str(uuid4()), private_key=ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKey":
        """Read the private JWK from the file; without a file make a key and write it, readable by its owner only.

        Raises `ValueError` when the file holds no private P-256 JWK.
        """
        if not path.exists():
            key = cls.generate()
            path.touch(mode=0o600)
            path.write_text(json.dumps(key.private_jwk()))
            return key
        jwk = json.loads(path.read_text())
        private_key = ECAlgorithm.from_jwk(jwk)
        if not isinstance(private_key, ec.EllipticCurvePrivateKey) or jwk.get("crv") != "P-256":
            raise ValueError(f"{path} holds no private P-256 JWK")
        return cls(key_id=jwk.get("kid") or str(uuid4()), private_key=private_key)

    def _described(self, jwk: dict[str, Any]) -> dict[str, Any]:
        return {**jwk, "kid": self.key_id, "alg": "ES256"}

    def private_jwk(self) -> dict[str, Any]:
        """Return the key pair as a JWK: a secret."""
        return self._described(ECAlgorithm.to_jwk(self.private_key, as_dict=True))

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key as the JWKS shows it."""
        jwk = ECAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        return {**self._described(jwk), "use": "sig", "key_ops": ["verify"], "ext": True}


@dataclass(frozen=True, kw_only=True)
class TokenSigner:
    """Signs with the ES256 key when there is one, else with the shared secret (HS256)."""

    jwt_secret: str = field(repr=False)
    issuer: str
    signing_key: SigningKey | None = None

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the claims as a signed token."""
        if self.signing_key is not None:
            headers = {"kid": self.signing_key.key_id}
            return jwt.encode(dict(claims), self.signing_key.private_key, algorithm="ES256", headers=headers)
        return jwt.encode(dict(claims), self.jwt_secret, algorithm="HS256")


def mint_user_token(
    signer: TokenSigner,
    *,
    user_id: UUID | str,
    email: str,
    lifetime_seconds: int = 3600,
    session_id: UUID | None = None,
    app_metadata: Mapping[str, Any] | None = None,
    user_metadata: Mapping[str, Any] | None = None,
    now: int | None = None,
) -> str:
    """Return an access token as Supabase Auth gives it to a user who signed in with a password."""
    issued_at = int(time()) if now is None else now
    return signer.sign(
        {
            "iss": signer.issuer,
            "sub": str(user_id),
            "aud": "authenticated",
            "exp": issued_at + lifetime_seconds,
            "iat": issued_at,
            "email": email,
            "phone": "",
            "app_metadata": dict(app_metadata or {"provider": "email", "providers": ["email"]}),
            "user_metadata": dict(user_metadata or {"email_verified": True}),
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": issued_at}],
            "session_id": str(session_id or uuid4()),
            "is_anonymous": False,
        }
    )


def mint_role_token(signer: TokenSigner, role: str, *, lifetime_seconds: int = 3600) -> str:
    """Return a token for a database role without a user, like the legacy anon and service_role keys.

    The role must be granted to `authenticator` to be of use.
    """
    issued_at = int(time())
    return signer.sign({"iss": signer.issuer, "role": role, "iat": issued_at, "exp": issued_at + lifetime_seconds})


def make_api_key(kind: str) -> str:
    """Return a fresh opaque API key, `sb_<kind>_…`; kind is `publishable` or `secret`."""
    return f"sb_{kind}_{secrets.token_urlsafe(24)}"


@dataclass(slots=True)
class _Signed:
    """What a rightly signed token claims, and when nothing else is wrong with it: never, until that is looked at."""

    claims: Claims
    good_from: float = inf
    good_until: float = -inf


class TokenVerifier:
    """Verifies bearer tokens as PostgREST does; a token's signature is checked once and remembered."""

    def __init__(self, *, jwt_secret: str, audience: str, signing_key: SigningKey | None) -> None:
        self._secret = jwt_secret
        self._audience = audience
        self._signing_key = signing_key
        self._signed: dict[str, _Signed] = {}

    def verify(self, token: str) -> Claims:
        """Return the token's claims. Raises `ApiError` (401; PGRST301 form and signature, PGRST303 claims)."""
        known = self._signed.get(token)
        if known is None:
            known = _Signed(self._check_signature(token))
            if len(self._signed) >= _CACHE_SIZE:
                self._signed.clear()
            self._signed[token] = known
        claims = known.claims
        if not known.good_from <= int(time()) <= known.good_until:
            self._check_claims(claims)
            begun = max(_seconds(claims, name) if name in claims else -inf for name in ("nbf", "iat"))
            known.good_from = begun - _SKEW_SECONDS
            known.good_until = (_seconds(claims, "exp") if "exp" in claims else inf) + _SKEW_SECONDS
        return claims

    def _check_signature(self, token: str) -> Claims:
        if not token:
            raise invalid_token("PGRST301", "Empty JWT is sent in Authorization header")
        parts = token.count(".") + 1
        if parts != 3:
            raise invalid_token("PGRST301", f"Expected 3 parts in JWT; got {parts}")
        unsuitable = invalid_token("PGRST301", "No suitable key or wrong key type")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise invalid_token("PGRST301", "JWT couldn't be decoded") from None
        key: Any
        algorithm = header.get("alg")
        if algorithm == "HS256":
            key = self._secret
        elif algorithm == "ES256" and self._signing_key is not None:
            if header.get("kid") not in (None, self._signing_key.key_id):
                raise unsuitable
            key = self._signing_key.private_key.public_key()
        elif algorithm == "none":
            raise invalid_token("PGRST301", "Wrong or unsupported encoding algorithm")
        else:
            raise unsuitable
        try:
            payload = jwt.PyJWS().decode(token, key, algorithms=[algorithm])
        except (jwt.InvalidTokenError, jwt.InvalidKeyError):
            raise unsuitable from None
        return _claims_object(payload)

    def _check_claims(self, claims: Claims) -> None:
        now = int(time())
        if "exp" in claims and now > _seconds(claims, "exp") + _SKEW_SECONDS:
            raise invalid_token("PGRST303", "JWT expired")
        if "nbf" in claims and now < _seconds(claims, "nbf") - _SKEW_SECONDS:
            raise invalid_token("PGRST303", "JWT not yet valid")
        if "iat" in claims and now < _seconds(claims, "iat") - _SKEW_SECONDS:
            raise invalid_token("PGRST303", "JWT issued at future")
        if not self._in_audience(claims.get("aud")):
            raise invalid_token("PGRST303", "JWT not in audience")

    def _in_audience(self, audience: object) -> bool:
        match audience:
            case None | []:
                return True
            case str():
                return audience == self._audience
            case list() if all(isinstance(item, str) for item in audience):
                return self._audience in audience
        raise invalid_token("PGRST303", "The JWT 'aud' claim must be a string or an array of strings")


def _claims_object(payload: bytes) -> Claims:
    try:
        claims = json.loads(payload)
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise invalid_token("PGRST303", "Parsing claims failed")
    return claims


def _seconds(claims: Claims, name: str) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_token("PGRST303", f"The JWT '{name}' claim must be a number")
    # PostgREST reads a fraction as 0.
    return int(value) if value == int(value) else 0
