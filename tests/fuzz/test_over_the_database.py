"""Hostile values in otherwise sound requests, over the real database: what is refused changes nothing."""

import json
import random
from typing import Any, Final
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import People
from tests.fuzz.hostile import DATES, JSON_SOUND, NUMBERS, QUERIES, TEXTS, json_values
from tests.fuzz.target import JSON, Books, Target, bearer, operations, say, scaled, signature
from tests.fuzz.test_refused_alone import quickly

REQUESTS: Final = 1_500
_PER_EXAMPLE: Final = 10

Json = dict[str, Any]


def changed(sound: Any, value: Any, chance: random.Random) -> Any:
    """The body with one value replaced by a hostile one that may well be stored."""
    if isinstance(sound, list):
        return [changed(item, value, chance) for item in sound]
    body = dict(sound)
    name = chance.choice(list(body))
    if name == "offers":
        body[name] = changed(body[name], value, chance)
    elif name in ("criteria", "attributes"):
        body[name] = value if isinstance(value, dict) else {chance.choice(("k", *TEXTS[:20])): value}
    elif name == "expires_at":
        body[name] = chance.choice(DATES)
    elif name.endswith(("_minor", "_bookings")):
        body[name] = chance.choice(NUMBERS)
    else:
        body[name] = chance.choice((*TEXTS, value))
    return body


def test_hostile_values(people: People, whole: Target, table_state: Books) -> None:
    takers = [operation for operation in operations() if operation.body]
    before, refused = table_state.state(), 0
    who = bearer(people.owner.user.access_token)

    @quickly(REQUESTS // _PER_EXAMPLE + 1)
    @given(st.lists(json_values, min_size=_PER_EXAMPLE, max_size=_PER_EXAMPLE), st.integers(0, 2**32))
    def send(values: list[Any], seed: int) -> None:
        nonlocal before, refused
        chance = random.Random(seed)
        for value in values:
            operation = chance.choice(takers)
            sound = dict(JSON_SOUND[operation.path])
            sound.pop("payment_method_id", None)
            if "campaign_id" in sound:
                sound |= {"campaign_id": people.ids["campaigns"][0], "offer_id": people.ids["offers"][1]}
            if "offers" in sound:
                sound = {"offers": [sound["offers"][0] | {"id": f"fuzzed-{uuid4().hex}"}]}
            body = json.dumps(changed(sound, value, chance)).encode()
            path = operation.path.replace("{id}", chance.choice(people.ids.get(operation.path.split("/")[1], ["x"])))
            headers = JSON | (signature(body, people.signing_secret) if operation.who == "machine" else who)
            status = whole.send(operation.method, path, body, headers).status
            after = table_state.state()
            if status in (400, 401, 404, 413, 415, 422):
                refused += 1
                if after != before:
                    whole.faults.append(
                        f"{operation.method} {path}: {status}, and something was written: {body!r:.300}"
                    )
            before = after

    send()
    say(f"{whole.report('hostile values over the database')}; {refused} refused, and nothing written")
    whole.assert_sound()
    assert whole.sent >= scaled(REQUESTS)
    assert refused > whole.sent / 4


def test_hostile_queries(people: People, whole: Target, table_state: Books) -> None:
    """Cursors and limits of every list, over rows that are there."""
    before = table_state.state()
    paths = ("/campaigns", "/bookings", "/payment-methods", f"/campaigns/{people.ids['campaigns'][0]}/timeline")
    for path in paths:
        for query in QUERIES:
            whole.send("GET", path, b"", bearer(people.owner.user.access_token), query)
    say(whole.report("hostile queries over the database"))
    whole.assert_sound()
    assert table_state.state() == before
