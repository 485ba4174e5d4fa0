"""The keys of users' tokens: fetched seldom, forgotten in time, and missed without a verdict on anybody."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.shared import tokens
from tests.functions.shared.conftest import SetEnvironment
from tests.functions.shared.key_server import (
    STRANGERS_KEY,
    USER,
    KeyServer,
    claims,
    ec_jwk,
    es256,
    nested,
    refused,
    rs256,
    rsa_jwk,
)


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
