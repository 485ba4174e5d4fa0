"""Hostile requests to every operation with nothing behind the handlers: all are refused, and by the handlers alone."""

import random
from typing import Any, Final
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from functions.charge_booking.handler import queue_handler
from local.lambda_runtime import LambdaContext
from local.stack import LocalStack
from tests.fuzz.hostile import CONTENT_TYPES, IDS, JSON_SOUND, QUERIES, RAW_BODIES, dumped, json_values, spoilt
from tests.fuzz.target import JSON, Target, bearer, operations, say, scaled, signature
from tests.support.lambdas import sqs_event

BODIES: Final = 11_500
EDGES: Final = 6_500
EVENTS: Final = 900
MESSAGES: Final = 500

_PER_EXAMPLE = 60
"""Requests made of one hostile value: Hypothesis takes longer to draw it than a handler to refuse it."""


def quickly(examples: int) -> settings:
    """So many examples at this scale, the same in each run."""
    return settings(
        max_examples=scaled(examples),
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def filled(path: str, chance: random.Random) -> str:
    """A path of an operation with some id in it."""
    return path.replace("{id}", chance.choice(IDS))


def test_hostile_bodies(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    """Every operation that takes a body, with good credentials and with none."""
    target = nothing_behind
    user = bearer(fuzz_stack.users.create("bodies@example.com").access_token)
    secret = fuzz_stack.keys.signing_secrets[0]
    takers = [operation for operation in operations() if operation.body]

    @quickly(BODIES // _PER_EXAMPLE + 1)
    @given(st.lists(json_values, min_size=3, max_size=3), st.integers(0, 2**32))
    def send(values: list[Any], seed: int) -> None:
        chance = random.Random(seed)
        for number in range(_PER_EXAMPLE):
            operation = takers[number % len(takers)]
            body = dumped(spoilt(JSON_SOUND.get(operation.path, {}), values[number % 3], chance), chance)
            if chance.random() < 0.1:
                body = chance.choice(RAW_BODIES)
            right = signature(body, secret) if operation.who == "machine" else user
            who = right if chance.random() < 0.8 else chance.choice((user, signature(body, secret), {}))
            path = operation.path.replace("{id}", str(UUID(int=seed)))
            target.send(operation.method, path, body, JSON | who)

    send()
    say(target.report("hostile bodies"))
    target.assert_sound()
    assert target.sent >= scaled(BODIES)
    assert {operation.path for operation in takers} <= {said.partition(" ")[2] for said in target.operations}
    assert target.statuses["422 invalid_request"] > target.sent / 3
    assert not [status for status in target.statuses if status.startswith("2")]


def test_hostile_paths_headers_and_queries(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    """Every operation, with what an HTTP request can be damaged in beside its body."""
    target = nothing_behind
    chance = random.Random(7)
    token = fuzz_stack.users.create("edges@example.com").access_token
    methods = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "QUERY", "get")
    for number in range(scaled(EDGES)):
        operation = operations()[number % len(operations())]
        path = filled(operation.path, chance)
        if chance.random() < 0.15:
            path += chance.choice(("/", "//", "/..", "/%2e%2e/x", "/x", "%2Fx", ".json", ";x", "%", "/" + "a/" * 300))
        method = operation.method if chance.random() < 0.8 else chance.choice(methods)
        headers: list[tuple[str, str]] = []
        if chance.random() < 0.7:
            headers.append(("content-type", chance.choice(CONTENT_TYPES)))
        if chance.random() < 0.4:
            keys = ("", " ", "a" * 255, "a" * 256, "ключ", "a b", "a,b", "\t", "x" * 8000, "'--", "\x7f")
            headers += [("idempotency-key", chance.choice(keys)) for _ in range(chance.choice((1, 1, 2)))]
        if chance.random() < 0.5:
            values = (f"Bearer {token}", f"Basic {token}", f"bearer  {token}", "Bearer", "Bearer é", f"Bearer {token}x")
            headers += [("authorization", chance.choice(values)) for _ in range(chance.choice((1, 1, 2)))]
        if chance.random() < 0.3:
            headers.append(
                ("autobook-signature", chance.choice(("t=1,v1=" + "0" * 64, "", "t=" + "9" * 400, "é", "," * 999)))
            )
        if chance.random() < 0.2:
            headers.append(
                (chance.choice(("x-request-id", "x-forwarded-for", "cookie", "host", "accept")), "\x85" * 400)
            )
        query = chance.choice(QUERIES) if chance.random() < 0.6 else ""
        body = chance.choice(RAW_BODIES) if method in ("POST", "PATCH", "PUT") and chance.random() < 0.5 else b""
        target.send(method, path, body, headers, query)
    say(target.report("paths, headers, queries"))
    target.assert_sound()
    assert target.sent == scaled(EDGES)
    assert len(target.operations) > len(operations()) - 3
    assert not [status for status in target.statuses if status.startswith("2")]


def test_damaged_events(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    """What no API Gateway sends, but a misconfigured one might: bodies that are not the base64 they are said to be."""
    target = nothing_behind
    chance = random.Random(11)
    user = bearer(fuzz_stack.users.create("events@example.com").access_token)
    damages: tuple[dict[str, Any], ...] = (
        {"body": "eyJ9", "isBase64Encoded": True},
        {"body": '{"a":1}', "isBase64Encoded": False},
        {"body": "=", "isBase64Encoded": False},
        {"body": "", "isBase64Encoded": True},
        {"body": "\ud800", "isBase64Encoded": False},
        {"cookies": ["a=b", "\x00"]},
        {"queryStringParameters": {"limit": "9"}, "rawQueryString": ""},
        {"rawQueryString": "limit=%zz&cursor=%ff"},
        {"pathParameters": {"proxy": "../.."}},
    )
    for number in range(scaled(EVENTS)):
        operation = operations()[number % len(operations())]
        path, damage = filled(operation.path, chance), chance.choice(damages)
        target.send(operation.method, path, b"{}", JSON | chance.choice((user, {})), changes=damage)
    say(target.report("damaged events"))
    target.assert_sound()
    assert target.sent == scaled(EVENTS)
    assert not [status for status in target.statuses if status.startswith("2")]


def test_hostile_messages_on_the_queue(nothing_behind: Target) -> None:
    """None is charged, each is given back to be dead-lettered, and none stops the others."""
    assert nothing_behind.sent == 0
    sent = 0

    @quickly(MESSAGES // 10)
    @given(st.lists(json_values, min_size=10, max_size=10), st.integers(0, 2**32))
    def send(values: list[Any], seed: int) -> None:
        nonlocal sent
        chance = random.Random(seed)
        sound = JSON_SOUND["/charge-booking"]
        bodies = [dumped(spoilt(sound, value, chance), chance).decode("utf-8", "replace") for value in values]
        event = sqs_event(*bodies)
        answer = queue_handler(event, LambdaContext("fuzzed", 29.0, 512))
        returned = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        assert returned == [record["messageId"] for record in event["Records"]]
        sent += len(bodies)

    send()
    say(f"messages on the queue: {sent}")
    assert sent >= scaled(MESSAGES)
