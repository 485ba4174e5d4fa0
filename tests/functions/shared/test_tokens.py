"""Users' access tokens, with real keys and a real key server: what is believed, and everything that is not."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from functions.shared import auth, tokens
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.web import Call, NoQuery
from tests.functions.shared.conftest import SetEnvironment

Json = dict[str, Any]
USER = UUID("4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01")
LEGACY_SECRET = "a-legacy-secret-of-at-least-thirty-two-bytes"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGERS_KEY = ec.generate_private_key(ec.SECP256R1())


def ec_jwk(key: ec.EllipticCurvePrivateKey = EC_KEY, key_id: str = "ec") -> Json:
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": key_id, "alg": "ES256", "use": "sig"}


def rsa_jwk() -> Json:
    return RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "rsa", "alg": "RS256", "use": "sig"}


class KeyServer:
    """A project's `/auth/v1`: it answers with its keys, or as it is told to, and counts."""

    def __init__(self) -> None:
        self.keys: list[Json] = [ec_jwk(), rsa_jwk()]
        self.status = 200
        self.body: bytes | None = None
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                body = json.dumps({"keys": server.keys}).encode() if server.body is None else server.body
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it overrides
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.issuer = f"{self.url}/auth/v1"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def let_time_pass(self, seconds: float) -> None:
        """Make the last fetch that much longer ago, instead of waiting."""
        key_set = tokens._key_set(self.issuer)
        key_set._tried_at -= seconds
        key_set._fetched_at -= seconds


@pytest.fixture
def server(environment: SetEnvironment) -> Iterator[KeyServer]:
    """A project with asymmetric keys only, whose settings the functions read."""
    running = KeyServer()
    environment(
        SUPABASE_URL=running.url,
        SUPABASE_PUBLISHABLE_KEY="sb_publishable_x",
        SUPABASE_JWT_ISSUER=None,
        SUPABASE_JWT_SECRET=None,
    )
    yield running
    running.close()


@pytest.fixture
def legacy(server: KeyServer, environment: SetEnvironment) -> KeyServer:
    """A project that still takes tokens signed with the legacy secret."""
    environment(SUPABASE_JWT_SECRET=LEGACY_SECRET)
    return server


def claims(server: KeyServer, **changes: Any) -> Json:
    """What Supabase puts into a token, with changes; None takes a claim away."""
    now = int(time.time())
    usual = {
        "iss": server.issuer,
        "aud": "authenticated",
        "sub": str(USER),
        "exp": now + 3600,
        "iat": now,
        "role": "authenticated",
        "email": "ann@example.com",
        "aal": "aal1",
        "session_id": str(uuid4()),
        "is_anonymous": False,
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def es256(payload: Json, key: ec.EllipticCurvePrivateKey = EC_KEY, key_id: str | None = "ec") -> str:
    return jwt.encode(payload, key, "ES256", {"kid": key_id} if key_id else None)


def rs256(payload: Json, key_id: str = "rsa") -> str:
    return jwt.encode(payload, RSA_KEY, "RS256", {"kid": key_id})


def part(value: Json | bytes) -> bytes:
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=")


def hs256(payload: Json, secret: bytes, header: Json | None = None) -> str:
    """By hand, because PyJWT refuses to sign with what is a public key."""
    signing_input = part(header or {"alg": "HS256", "typ": "JWT"}) + b"." + part(payload)
    digest = {"HS384": "sha384", "HS512": "sha512"}.get((header or {}).get("alg", ""), "sha256")
    return (signing_input + b"." + part(hmac.digest(secret, signing_input, digest))).decode()


def refused(token: str, code: str = "invalid_token") -> Problem:
    with pytest.raises(Problem) as raised:
        tokens.verify(token)
    assert raised.value.code == code
    if raised.value.kind.status == 401:
        assert raised.value.headers == {"WWW-Authenticate": "Bearer"}
    # A short one may be part of a word.
    assert len(token) < 8 or token not in f"{raised.value!r} {raised.value.document()}"
    return raised.value


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


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


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


# --- the cached key set ---------------------------------------------------------------------------------------------


def test_keys_are_fetched_once(server: KeyServer) -> None:
    for _ in range(20):
        tokens.verify(es256(claims(server)))
        tokens.verify(rs256(claims(server)))
    assert len(server.paths) == 1


def test_threads_that_begin_together_fetch_once(server: KeyServer) -> None:
    token = es256(claims(server))
    with ThreadPoolExecutor(16) as pool:
        assert {claim.user_id for claim in pool.map(tokens.verify, [token] * 32)} == {USER}
    assert len(server.paths) == 1


def test_unknown_key_ids_make_us_ask_at_most_once_in_half_a_minute(server: KeyServer) -> None:
    tokens.verify(es256(claims(server)))
    for number in range(50):
        refused(es256(claims(server), STRANGERS_KEY, f"unknown-{number}"))
    assert len(server.paths) == 1
    server.let_time_pass(tokens.REFETCH_PAUSE_SECONDS + 1)
    for number in range(50):
        refused(es256(claims(server), STRANGERS_KEY, f"unknown-{number}"))
    assert len(server.paths) == 2
    assert tokens.verify(es256(claims(server))).user_id == USER


def test_a_new_key_is_found_and_a_withdrawn_one_forgotten(server: KeyServer) -> None:
    tokens.verify(es256(claims(server)))
    server.keys = [ec_jwk(STRANGERS_KEY, "new")]
    server.let_time_pass(tokens.REFETCH_PAUSE_SECONDS + 1)
    assert tokens.verify(es256(claims(server), STRANGERS_KEY, "new")).user_id == USER
    refused(es256(claims(server)))


def test_a_withdrawn_key_is_forgotten_in_ten_minutes_without_being_asked(server: KeyServer) -> None:
    tokens.verify(es256(claims(server)))
    server.keys = [rsa_jwk()]
    server.let_time_pass(tokens.KEYS_LIVE_SECONDS + 1)
    refused(es256(claims(server)))
    assert len(server.paths) == 2


def test_keys_that_we_have_outlive_a_key_server_that_is_away(server: KeyServer) -> None:
    tokens.verify(es256(claims(server)))
    server.status = 503
    server.let_time_pass(tokens.KEYS_LIVE_SECONDS + 1)
    assert tokens.verify(es256(claims(server))).user_id == USER
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (404, None),
        (302, None),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'"keys"'),
        (200, b"{}"),
        (200, b'{"keys": null}'),
        (200, b'{"keys": [1]}'),
        (200, b'{"keys": {"kid": "ec"}}'),
        (200, b'{"keys": [{"kty": "EC", "kid": "ec"}]}'),
        (200, b"\xff"),
        (200, nested(5000)),
    ],
    ids=lambda value: None if value is None else str(value)[:30],
)
def test_without_keys_nobody_is_judged_and_the_keys_are_asked_for_again(
    server: KeyServer, status: int, body: bytes | None
) -> None:
    """A user with a good token is told to come back, not to sign in."""
    server.status, server.body = status, body
    token = es256(claims(server))
    refused(token, "database_unavailable")
    refused(token, "database_unavailable")
    assert len(server.paths) == 1
    server.status, server.body = 200, None
    server.let_time_pass(tokens.REFETCH_PAUSE_SECONDS + 1)
    assert tokens.verify(token).user_id == USER


def test_a_project_that_publishes_no_key_signs_with_none(server: KeyServer) -> None:
    """One that still signs with the legacy secret: a token with a key id is forged, and coming back does not help."""
    keys, server.keys = server.keys, []
    token = es256(claims(server))
    refused(token)
    refused(token)
    assert len(server.paths) == 1
    server.keys = keys
    server.let_time_pass(tokens.REFETCH_PAUSE_SECONDS + 1)
    assert tokens.verify(token).user_id == USER


def test_a_key_server_that_is_not_there_is_an_outage(server: KeyServer, environment: SetEnvironment) -> None:
    token = es256(claims(server, iss="http://127.0.0.1:9/auth/v1"))
    environment(SUPABASE_URL="http://127.0.0.1:9")
    refused(token, "database_unavailable")


def test_the_signature_is_checked_by_hand_too() -> None:
    """Holds the helper of these tests to RFC 7515: HMAC over header and payload as they are written."""
    token = hs256({"a": 1}, b"secret")
    head, _, signature = token.rpartition(".")
    expected = hmac.new(b"secret", head.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == expected
