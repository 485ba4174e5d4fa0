"""A project's keys and the server that publishes them; tokens of all kinds, good and forged."""

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from functions.shared import tokens
from functions.shared.problems import Problem

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


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth
