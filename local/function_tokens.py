"""`autobook function-tokens`: a token per Lambda, each for its own database role (policies/0102_function_roles.sql).

Signed with SUPABASE_JWT_SECRET (a project with the legacy secret) or with the private key in the file that
SUPABASE_SIGNING_KEY names: an ES256 JWK, made with `supabase gen signing-key` and imported into the project
(https://supabase.com/docs/guides/auth/signing-keys). Prints one NAME=value line a function, for a secret store.
"""

import os
from pathlib import Path

from local.supabase.tokens import SigningKey, TokenSigner, mint_role_token

FUNCTIONS = (
    "setup_intent",
    "payment_methods",
    "campaigns",
    "offers",
    "charge_booking",
    "bookings",
    "webhook",
    "reconcile",
    "notify",
)
LIFETIME_DAYS = 365


def role_of(function: str) -> str:
    """The database role of a function."""
    return f"autobook_{function}"


def variable_of(function: str) -> str:
    """The environment variable that a function reads its token from."""
    return f"SUPABASE_TOKEN_{function.upper()}"


def mint(signer: TokenSigner, lifetime_days: int = LIFETIME_DAYS) -> dict[str, str]:
    """The environment variables with a fresh token for each function."""
    seconds = lifetime_days * 24 * 3600
    return {variable_of(name): mint_role_token(signer, role_of(name), lifetime_seconds=seconds) for name in FUNCTIONS}


def from_environment(url: str) -> dict[str, str] | None:
    """Tokens that the environment holds already, or minted with a key that it holds; None when it holds neither.

    Raises ValueError for a key's file that is missing or holds none.
    """
    given = {variable_of(name): os.environ.get(variable_of(name), "") for name in FUNCTIONS}
    return given if all(given.values()) else from_keys(url)


def from_keys(url: str) -> dict[str, str] | None:
    """Fresh tokens, signed with a key that the environment holds; None when it holds none.

    Raises ValueError for a key's file that is missing or holds none.
    """
    secret, key_file = os.environ.get("SUPABASE_JWT_SECRET"), os.environ.get("SUPABASE_SIGNING_KEY")
    if not secret and not key_file:
        return None
    if key_file and not Path(key_file).exists():
        raise ValueError("SUPABASE_SIGNING_KEY names a file that is not there")
    key = SigningKey.load_or_create(Path(key_file)) if key_file else None
    return mint(TokenSigner(jwt_secret=secret or "", issuer=f"{url}/auth/v1", signing_key=key))
