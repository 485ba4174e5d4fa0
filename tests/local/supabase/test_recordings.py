"""The stand-in against 140 recordings of the real PostgREST (13.0.4 over PostgreSQL 15), see `postgrest/`."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt
import psycopg
import pytest

from local.postgres import PostgresServer
from local.supabase.server import running

WORLD = Path(__file__).parent / "postgrest"
RECORDINGS: list[dict[str, Any]] = json.loads((WORLD / "recordings.json").read_text())
SECRET = "reallyreallyreallyreallyverysafe"
USER = {"role": "authenticated", "sub": "11111111-1111-1111-1111-111111111111", "aud": "authenticated"}

# What the stand-in refuses, by name: nothing.
REFUSED: list[str] = []


class World(NamedTuple):
    """The recordings' database and a stand-in over it."""

    url: str
    admin: psycopg.Connection[Any]


@pytest.fixture(scope="module", params=["as superuser", "as authenticator"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A cluster of its own (`schema.sql` makes the roles), served by the command of the contract."""
    with PostgresServer.start() as postgres:
        database_url = postgres.create_database("world")
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute((WORLD / "schema.sql").read_bytes())
            parts = urlsplit(database_url)
            served_url = database_url
            if request.param == "as authenticator":
                served_url = parts._replace(netloc=f"authenticator:x@{parts.hostname}:{parts.port}").geturl()
            with running(["--database-url", served_url, "--port", "0", "--jwt-secret", SECRET]) as url:
                yield World(url, admin)


def token_of(caller: str) -> str | None:
    now = int(time())
    claims: dict[str, dict[str, Any]] = {
        "user": {**USER, "exp": now + 600},
        "wrong_signature": {**USER, "exp": now + 600},
        "service": {"role": "service_role", "exp": now + 600},
        "expired": {**USER, "exp": now - 600},
        "unknown_role": {**USER, "role": "nosuchrole", "exp": now + 600},
        "no_role": {"sub": USER["sub"], "exp": now + 600},
    }
    if caller == "anon":
        return None
    token = jwt.encode(claims[caller], SECRET, algorithm="HS256")
    return token + "x" if caller == "wrong_signature" else token


def body_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text or None


def send(world: World, http: httpx.Client, recording: dict[str, Any]) -> httpx.Response:
    recorded = recording["request"]
    # Spaces around a field's value are no part of it (RFC 9112, 5.1), and httpx won't send any.
    headers = {name: value.strip() for name, value in recorded["headers"].items()}
    if (token := token_of(recording["caller"])) is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = None
    if "body" in recorded:
        body = recorded["body"]
        content = body if isinstance(body, str) else json.dumps(body)
    url = f"{world.url}/rest/v1{recorded['path']}"
    return http.request(recorded["method"], url, headers=headers, content=content)


@pytest.mark.parametrize("recording", RECORDINGS, ids=[recording["name"] for recording in RECORDINGS])
def test_answers_as_postgrest_did(world: World, http: httpx.Client, recording: dict[str, Any]) -> None:
    world.admin.execute((WORLD / "seed.sql").read_bytes())
    response = send(world, http, recording)
    if recording["name"] in REFUSED:
        assert response.status_code == 501
        return
    expected = recording["response"]
    assert (response.status_code, body_of(response)) == (expected["status"], expected["body"])
    transport = {"content-length", "transfer-encoding", "date", "server"}
    expected_headers = {name.lower(): value for name, value in expected["headers"].items()}
    assert {n: v for n, v in response.headers.items() if n not in transport} == {
        n: v for n, v in expected_headers.items() if n not in transport
    }


def test_the_recordings_are_all_there() -> None:
    assert len(RECORDINGS) == 140
    assert {recording["name"] for recording in RECORDINGS}.issuperset(REFUSED)
