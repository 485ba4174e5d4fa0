"""Tokens and API keys: what is accepted, and as whom."""

import base64
import hmac
import json
import stat
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import httpx
import jwt
import pytest

from local.supabase.errors import ApiError
from local.supabase.gateway import Caller, Gateway
from local.supabase.tokens import (
    SigningKey,
    TokenSigner,
    TokenVerifier,
    make_api_key,
    mint_role_token,
    mint_user_token,
)
from tests.local.supabase.conftest import ADA, JWT_SECRET, StandIn, StartStandIn

PUBLISHABLE, SECRET = make_api_key("publishable"), make_api_key("secret")
OTHER_SECRET = "another-secret-that-is-long-enough-for-hs256"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def refusal(gateway: Gateway, **headers: str) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        gateway.identify(headers)
    assert caught.value.status == 401
    return caught.value.code, caught.value.message


def plain(signing_key: SigningKey | None = None) -> Gateway:
    return Gateway(TokenVerifier(jwt_secret=JWT_SECRET, audience="authenticated", signing_key=signing_key))


def hs256(**claims: Any) -> str:
    return "Bearer " + jwt.encode(claims, JWT_SECRET, algorithm="HS256")


def forge(claims: dict[str, Any], secret: str) -> str:
    """Sign with HS256 whatever the secret is; PyJWT would refuse one that looks like a key."""
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_nobody_is_anon() -> None:
    assert plain().identify({}) == Caller("anon", {"role": "anon"})
    assert plain().identify({"authorization": "Basic abc", "apikey": "whatever"}).role == "anon"
    assert plain().identify({"authorization": hs256(sub="x")}) == Caller("anon", {"sub": "x", "role": "anon"})


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": -31}, "JWT expired"),
        ({"nbf": 31}, "JWT not yet valid"),
        ({"iat": 31}, "JWT issued at future"),
        ({"aud": "other"}, "JWT not in audience"),
        ({"aud": ["other", "more"]}, "JWT not in audience"),
        ({"aud": 5}, "The JWT 'aud' claim must be a string or an array of strings"),
        ({"exp": "soon"}, "The JWT 'exp' claim must be a number"),
    ],
)
def test_claims_are_checked(claims: dict[str, Any], message: str) -> None:
    now = int(time())
    absolute = {n: now + v if isinstance(v, int) and n != "aud" else v for n, v in claims.items()}
    assert refusal(plain(), authorization=hs256(**absolute)) == ("PGRST303", message)


@pytest.mark.parametrize(
    "claims", [{"exp": -25}, {"nbf": 25}, {"iat": 25}, {"aud": []}, {"aud": ["x", "authenticated"]}]
)
def test_clocks_may_differ_a_little(claims: dict[str, Any]) -> None:
    now = int(time())
    absolute = {n: now + v if isinstance(v, int) else v for n, v in claims.items()}
    assert plain().identify({"authorization": hs256(role="authenticated", **absolute)}).role == "authenticated"


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer ", "Empty JWT is sent in Authorization header"),
        ("bearer nonsense", "Expected 3 parts in JWT; got 1"),
        ("Bearer a.b.c.d", "Expected 3 parts in JWT; got 4"),
        ("Bearer !.b.c", "JWT couldn't be decoded"),
        (
            "Bearer " + jwt.encode({"role": "service_role"}, OTHER_SECRET, algorithm="HS256"),
            "No suitable key or wrong key type",
        ),
        ("Bearer " + jwt.encode({"role": "x"}, "", algorithm="none"), "Wrong or unsupported encoding algorithm"),
    ],
)
def test_forms_and_signatures_are_checked(authorization: str, message: str) -> None:
    assert refusal(plain(), authorization=authorization) == ("PGRST301", message)


def test_own_es256_tokens_are_accepted_and_only_those(key: SigningKey) -> None:
    ours = TokenSigner(jwt_secret=JWT_SECRET, issuer="me", signing_key=key)
    theirs = TokenSigner(jwt_secret=JWT_SECRET, issuer="me", signing_key=SigningKey.generate())
    token = mint_user_token(ours, user_id=ADA, email="a@b.c")
    assert plain(key).identify({"authorization": f"Bearer {token}"}).claims["sub"] == ADA
    unsuitable = ("PGRST301", "No suitable key or wrong key type")
    assert refusal(plain(key), authorization=f"Bearer {mint_role_token(theirs, 'service_role')}") == unsuitable
    assert refusal(plain(), authorization=f"Bearer {token}") == unsuitable
    # The public key as a shared secret, the classic confusion of algorithms.
    confused = forge({"role": "service_role"}, json.dumps(key.public_jwk()))
    assert refusal(plain(key), authorization=f"Bearer {confused}") == unsuitable


def test_a_token_that_was_good_still_expires() -> None:
    verifier = TokenVerifier(jwt_secret=JWT_SECRET, audience="authenticated", signing_key=None)
    gone = jwt.encode({"exp": int(time()) - 31}, JWT_SECRET, algorithm="HS256")
    for _ in range(2):  # the second time its signature is remembered
        with pytest.raises(ApiError, match="JWT expired"):
            verifier.verify(gone)


def test_a_user_token_says_what_supabase_says() -> None:
    signer = TokenSigner(jwt_secret=JWT_SECRET, issuer="http://127.0.0.1:1/auth/v1")
    claims = jwt.decode(
        mint_user_token(signer, user_id=ADA, email="a@b.c", lifetime_seconds=60),
        JWT_SECRET,
        algorithms=["HS256"],
        audience="authenticated",
        issuer="http://127.0.0.1:1/auth/v1",
    )
    assert claims["exp"] - claims["iat"] == 60
    assert {n: claims[n] for n in ("sub", "email", "role", "aal", "is_anonymous", "phone")} == {
        "sub": ADA,
        "email": "a@b.c",
        "role": "authenticated",
        "aal": "aal1",
        "is_anonymous": False,
        "phone": "",
    }
    assert claims["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert claims["amr"] == [{"method": "password", "timestamp": claims["iat"]}]
    assert claims["session_id"]


def with_keys() -> Gateway:
    verifier = TokenVerifier(jwt_secret=JWT_SECRET, audience="authenticated", signing_key=None)
    return Gateway(verifier, publishable_key=PUBLISHABLE, secret_key=SECRET)


def test_opaque_keys_stand_for_their_roles() -> None:
    gateway = with_keys()
    assert gateway.identify({"apikey": PUBLISHABLE}).role == "anon"
    assert gateway.identify({"apikey": SECRET}).role == "service_role"
    assert gateway.identify({"apikey": SECRET, "authorization": f"Bearer {SECRET}"}).role == "service_role"
    user = hs256(role="authenticated", sub=ADA)
    assert gateway.identify({"apikey": SECRET, "authorization": user}).role == "authenticated"
    legacy = hs256(role="service_role").removeprefix("Bearer ")
    assert gateway.identify({"apikey": legacy, "authorization": f"Bearer {legacy}"}).role == "service_role"


def test_with_keys_a_request_needs_a_good_one() -> None:
    gateway, user = with_keys(), hs256(role="authenticated", sub=ADA)
    assert refusal(gateway, authorization=user)[1] == "No API key found in request"
    assert refusal(gateway, authorization=user, apikey="sb_secret_guess")[1] == "Invalid API key"
    assert refusal(gateway, authorization=user, apikey=user.removeprefix("Bearer "))[1] == "Invalid API key"
    assert refusal(gateway, apikey=PUBLISHABLE, authorization="Bearer sb_secret_guess") == (
        "PGRST301",
        "Expected 3 parts in JWT; got 1",
    )


def test_a_signing_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    first, second = SigningKey.load_or_create(path), SigningKey.load_or_create(path)
    assert first.public_jwk() == second.public_jwk()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "d" in first.private_jwk()
    assert "d" not in first.public_jwk()
    assert "private_key" not in repr(first)


def test_what_is_no_signing_key_is_refused(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key.public_jwk()))
    with pytest.raises(ValueError, match="no private P-256 JWK"):
        SigningKey.load_or_create(path)


@pytest.fixture(scope="module")
def project(make_database: Callable[[str], str], start_stand_in: StartStandIn, key: SigningKey) -> StandIn:
    url = make_database(
        "create role worker nologin; grant worker to authenticator;"
        "create role stranger nologin;"
        "create function who() returns text language sql as 'select current_user::text'"
    )
    return start_stand_in(url, publishable_key=PUBLISHABLE, secret_key=SECRET, signing_key=key)


def who(project: StandIn, **headers: str) -> httpx.Response:
    return project.client.post(f"{project.url}/rest/v1/rpc/who", json={}, headers=headers)


def test_keys_work_over_http(project: StandIn) -> None:
    assert who(project, apikey=PUBLISHABLE).json() == "anon"
    assert who(project, apikey=SECRET, authorization=f"Bearer {SECRET}").json() == "service_role"
    missing = who(project)
    assert (missing.status_code, missing.json()["message"]) == (401, "No API key found in request")


def test_a_token_may_name_any_role_that_is_granted(project: StandIn) -> None:
    assert who(project, apikey=PUBLISHABLE, **project.role_headers("worker")).json() == "worker"
    refused = who(project, apikey=PUBLISHABLE, **project.role_headers("stranger"))
    assert (refused.status_code, refused.json()["code"]) == (403, "42501")


def test_the_jwks_verifies_the_tokens(project: StandIn) -> None:
    url = f"{project.url}/auth/v1/.well-known/jwks.json"
    token = project.user_headers()["authorization"].removeprefix("Bearer ")
    keys = jwt.PyJWKClient(url)
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["ES256"],
        audience="authenticated",
        issuer=f"{project.url}/auth/v1",
    )
    assert claims["sub"] == ADA
