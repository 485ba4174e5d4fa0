"""Users' access tokens, with real keys and a real key server: what is believed, and everything that is not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.shared import auth, tokens
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.web import Call, NoQuery
from tests.functions.shared.conftest import SetEnvironment
from tests.functions.shared.key_server import (
    EC_KEY,
    LEGACY_SECRET,
    RSA_KEY,
    STRANGERS_KEY,
    USER,
    Json,
    KeyServer,
    claims,
    ec_jwk,
    es256,
    hs256,
    nested,
    part,
    refused,
    rs256,
    rsa_jwk,
)

# --- what is believed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [es256, rs256])
def test_a_token_of_the_project_is_believed(server: KeyServer, sign: Callable[[Json], str]) -> None:
    assert tokens.verify(sign(claims(server))) == tokens.Claims(USER, "ann@example.com")
    assert server.paths == ["/auth/v1/.well-known/jwks.json"]


def test_a_legacy_token_is_believed_where_its_secret_is_configured(legacy: KeyServer) -> None:
    token = jwt.encode(claims(legacy), LEGACY_SECRET, "HS256")
    assert tokens.verify(token).user_id == USER
    assert tokens.verify(es256(claims(legacy))).user_id == USER


def test_the_issuer_may_be_another_than_the_address(server: KeyServer, environment: SetEnvironment) -> None:
    environment(SUPABASE_URL="http://127.0.0.1:9", SUPABASE_JWT_ISSUER=server.issuer)
    assert tokens.verify(es256(claims(server))).user_id == USER
    refused(es256(claims(server, iss="http://127.0.0.1:9/auth/v1")))


@pytest.mark.parametrize("email", [None, "", 5, ["ann@example.com"]])
def test_a_user_may_have_no_email(server: KeyServer, email: Any) -> None:
    assert tokens.verify(es256(claims(server, email=email))) == tokens.Claims(USER, None)


@pytest.mark.parametrize("changes", [{"exp": -5}, {"nbf": 5}, {"iat": 5}, {"aud": None}], ids=str)
def test_clocks_may_differ_a_little(server: KeyServer, changes: dict[str, int | None]) -> None:
    now = int(time.time())
    moved: Json = {name: now + offset for name, offset in changes.items() if offset is not None}
    audience = {"aud": ["authenticated", "other"]} if "aud" in changes else {}
    assert tokens.verify(es256(claims(server, **moved, **audience))).user_id == USER


def test_a_key_that_names_no_algorithm_is_taken_by_its_type(server: KeyServer) -> None:
    server.keys = [{name: value for name, value in jwk.items() if name != "alg"} for jwk in server.keys]
    assert tokens.verify(es256(claims(server))).user_id == USER
    assert tokens.verify(rs256(claims(server))).user_id == USER


# --- what is not ----------------------------------------------------------------------------------------------------

NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example/auth/v1"},
        {"iss": None},
        {"iss": ""},
        {"aud": "anon"},
        {"aud": ["anon", "service_role"]},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": NOW + 600},
        {"nbf": "never"},
        {"iat": NOW + 600},
        {"role": "anon"},
        {"role": "service_role"},
        {"role": ["authenticated"]},
        {"role": None},
        {"sub": None},
        {"sub": "ann"},
        {"sub": ""},
        {"sub": 7},
    ],
    # Not their values: some are times, and every xdist worker must give a test the same name.
    ids=lambda changes: "-".join(f"{name}_{type(value).__name__}" for name, value in changes.items()),
)
def test_a_token_with_wrong_claims_is_refused(server: KeyServer, changes: Json) -> None:
    refused(es256(claims(server, **changes)))


@pytest.mark.parametrize("age_seconds", [11, 3600, 10**9])
def test_an_expired_token_is_told_apart(server: KeyServer, age_seconds: int) -> None:
    """The page then refreshes the token, instead of sending its user to sign in."""
    refused(es256(claims(server, exp=int(time.time()) - age_seconds)), "token_expired")


def test_an_expired_token_of_a_stranger_is_only_invalid(server: KeyServer) -> None:
    refused(es256(claims(server, exp=1), STRANGERS_KEY))


def test_a_stranger_s_signature_is_refused(server: KeyServer) -> None:
    refused(es256(claims(server), STRANGERS_KEY))


@pytest.mark.parametrize("place", range(3))
def test_a_token_that_was_changed_is_refused(server: KeyServer, place: int) -> None:
    mine, other = es256(claims(server)).split("."), es256(claims(server, sub=str(uuid4()))).split(".")
    other[0] = part({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}).decode()
    mine[place] = other[place]
    refused(".".join(mine))


def test_the_algorithm_none_is_refused(legacy: KeyServer) -> None:
    for algorithm in ("none", "None", "NONE", ""):
        for key_id in ({}, {"kid": "ec"}):
            body = part({"alg": algorithm} | key_id) + b"." + part(claims(legacy))
            refused((body + b".").decode())
            refused((body + b"." + part(b"signature")).decode())


@pytest.mark.parametrize("with_legacy_secret", [False, True])
def test_a_public_key_is_no_hmac_secret(
    server: KeyServer, environment: SetEnvironment, with_legacy_secret: bool
) -> None:
    """The classic confusion: everybody has the public key, so nothing signed with it as a secret may count."""
    if with_legacy_secret:
        environment(SUPABASE_JWT_SECRET=LEGACY_SECRET)
    secrets = [json.dumps(ec_jwk()).encode(), json.dumps(rsa_jwk()).encode()]
    for key in (EC_KEY.public_key(), RSA_KEY.public_key()):
        for encoding in (Encoding.PEM, Encoding.DER):
            secrets.append(key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo))  # noqa: PERF401 - a nested comprehension says less
    for secret in secrets:
        for key_id in ("ec", "rsa", None):
            header = {"alg": "HS256", "typ": "JWT"} | ({"kid": key_id} if key_id else {})
            refused(hs256(claims(server), secret, header))


def test_hs256_is_refused_where_no_secret_is_configured(server: KeyServer) -> None:
    for secret in (b"", LEGACY_SECRET.encode(), b"None", b"sb_publishable_x"):
        refused(hs256(claims(server), secret))
        refused(hs256(claims(server), secret, {"alg": "HS256", "kid": "ec"}))


def test_another_legacy_secret_or_digest_is_refused(legacy: KeyServer) -> None:
    refused(hs256(claims(legacy), b"another-secret-of-at-least-thirty-two-bytes"))
    refused(hs256(claims(legacy), LEGACY_SECRET.encode(), {"alg": "HS512"}))
    refused(hs256(claims(legacy), LEGACY_SECRET.encode(), {"alg": "hs256"}))


def test_a_key_is_used_with_its_own_algorithm_only(server: KeyServer) -> None:
    refused(rs256(claims(server), key_id="ec"))
    refused(es256(claims(server), key_id="rsa"))
    for algorithm in ("RS384", "RS512", "PS256"):
        refused(jwt.encode(claims(server), RSA_KEY, algorithm, {"kid": "rsa"}))


def test_a_shared_secret_in_the_key_set_opens_nothing(server: KeyServer) -> None:
    secret = b"a-secret-that-should-never-be-published"
    server.keys.append({"kty": "oct", "kid": "oct", "alg": "HS256", "k": part(secret).decode()})
    refused(hs256(claims(server), secret, {"alg": "HS256", "kid": "oct"}))
    refused(hs256(claims(server), secret, {"alg": "ES256", "kid": "oct"}))


def test_a_token_brings_no_key_of_its_own(server: KeyServer) -> None:
    own = KeyServer()
    own.keys = [ec_jwk(STRANGERS_KEY)]
    try:
        header = {
            "kid": "ec",
            "jku": f"{own.issuer}/.well-known/jwks.json",
            "jwk": ec_jwk(STRANGERS_KEY),
            "x5u": own.url,
        }
        refused(jwt.encode(claims(server), STRANGERS_KEY, "ES256", header))
        refused(jwt.encode(claims(server, iss=own.issuer), STRANGERS_KEY, "ES256", header))
        assert own.paths == []
    finally:
        own.close()


GARBAGE = {
    "empty": "",
    "dots": "..",
    "one part": "abc",
    "two parts": "a.b",
    "five parts": "a.b.c.d.e",
    "no base64": "%%%.%%%.%%%",
    "no JSON": (part(b"{") + b"." + part(b"{") + b".AA").decode(),
    "a list as header": (part(b"[]") + b"." + part(b"{}") + b".AA").decode(),
    "a number as header": (part(b"5") + b"." + part(b"{}") + b".AA").decode(),
    "no algorithm": (part({"kid": "ec"}) + b"." + part({}) + b".AA").decode(),
    "algorithm of another type": (part({"alg": ["ES256"], "kid": "ec"}) + b"." + part({}) + b".AA").decode(),
    "algorithm null": (part({"alg": None, "kid": "ec"}) + b"." + part({}) + b".AA").decode(),
    "key id of another type": (part({"alg": "ES256", "kid": 5}) + b"." + part({}) + b".AA").decode(),
    "key id null": (part({"alg": "ES256", "kid": None}) + b"." + part({}) + b".AA").decode(),
    "no key id": (part({"alg": "ES256"}) + b"." + part({}) + b".AA").decode(),
    "critical extension": (
        part({"alg": "ES256", "kid": "ec", "crit": ["x"], "x": 1}) + b"." + part({}) + b".AA"
    ).decode(),
    "deep header": (part(b'{"alg":"ES256","kid":"ec","x":' + nested(2500) + b"}") + b"." + part({}) + b".AA").decode(),
    "bytes that are no text": (part(b"\xff\xfe") + b"." + part(b"\xff") + b".AA").decode(),
    "NUL": "\x00.\x00.\x00",
}


@pytest.mark.parametrize("token", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused(legacy: KeyServer, token: str) -> None:
    refused(token)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet=st.characters(max_codepoint=127), max_size=200)
    | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True)
)
def test_nothing_else_does_anything_but_be_refused(legacy: KeyServer, token: str) -> None:
    refused(token)


def call(**headers: str) -> Call[None, NoQuery]:
    return Call(lambda: None, NoQuery(), b"", headers, {}, "request", Deadline.after(1))


def test_the_header_is_a_bearer_s(server: KeyServer) -> None:
    token = es256(claims(server))
    for scheme in ("Bearer", "bearer", "BEARER"):
        user = auth.user(call(authorization=f"{scheme} {token}"))
        assert (user.id, user.email, user.token) == (USER, "ann@example.com", token)
        assert token not in repr(user)


@pytest.mark.parametrize("header", [None, ""])
def test_nobody_is_asked_to_sign_in(server: KeyServer, header: str | None) -> None:
    with pytest.raises(Problem) as raised:
        auth.user(call() if header is None else call(authorization=header))
    assert (raised.value.code, raised.value.headers) == ("unauthenticated", {"WWW-Authenticate": "Bearer"})


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic YW5uOnB3", "Bearer  x", "Bearer ünïcode.x.y", "Bearer " + "a" * 9000, "x" * 9000],
)
def test_any_other_header_is_refused(server: KeyServer, header: str) -> None:
    with pytest.raises(Problem) as raised:
        auth.user(call(authorization=header))
    assert raised.value.code == "invalid_token"
    assert server.paths == []


def test_an_oversized_token_is_refused_though_it_is_signed(server: KeyServer) -> None:
    token = es256(claims(server, app_metadata={"x": "y" * auth.TOKEN_LIMIT_BYTES}))
    assert tokens.verify(token).user_id == USER
    with pytest.raises(Problem, match="invalid_token"):
        auth.user(call(authorization=f"Bearer {token}"))


def test_the_signature_is_checked_by_hand_too() -> None:
    """Holds the helper of these tests to RFC 7515: HMAC over header and payload as they are written."""
    token = hs256({"a": 1}, b"secret")
    head, _, signature = token.rpartition(".")
    expected = hmac.new(b"secret", head.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == expected
