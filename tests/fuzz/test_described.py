"""Requests that Schemathesis makes from the description, over the real database: sound ones and such that are not.

https://schemathesis.readthedocs.io/. The credentials are those that the operation wants; the ids are now the caller's
own, now somebody else's, now nobody's.
"""

import json
import random
from typing import Any, Final
from urllib.parse import quote, urlencode

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests.fuzz import test_refused_alone
from tests.fuzz.conftest import People
from tests.fuzz.target import Books, Target, bearer, description, operations, say, scaled, signature

PER_OPERATION: Final = 40
"""Cases of each of the two kinds for each operation."""
_SPOKEN = ("2", "409", "402")
"""What may write: successes, and refusals of a charge, which the timeline tells its owner of."""


def cases(kind: GenerationMode) -> list[Any]:
    """So many cases for each operation but the webhook, whose sound bodies Stripe alone can sign."""
    made: list[Any] = []
    schema = schemathesis.openapi.from_dict(description())
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # our description is valid, and a test says so
        if operation.path.endswith("health") or operation.path == "/webhook":
            continue

        @settings(
            max_examples=scaled(PER_OPERATION),
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=kind))
        def keep(case: Any) -> None:
            made.append(case)

        keep()
    return made


def bytes_of(body: Any) -> bytes:
    """The body as it is sent."""
    if isinstance(body, bytes):
        return body
    if type(body).__name__ == "NotSet":
        return b""
    return json.dumps(body).encode("utf-8", "surrogatepass")


def send(case: Any, people: People, target: Target, chance: random.Random) -> tuple[str, str]:
    """Send a case with credentials: method, and the answer's status with its code."""
    body = bytes_of(case.body)
    method, path = case.method.upper(), case.path
    if "{id}" in path:
        own = people.ids.get(path.split("/")[1], [])
        generated = quote(str((case.path_parameters or {}).get("id", "x")), safe="")
        path = path.replace("{id}", chance.choice([*own, generated or "x"]))
    token = chance.choice((people.owner.user.access_token, people.stranger.access_token))
    (who,) = [operation.who for operation in operations() if (operation.method, operation.path) == (method, case.path)]
    credentials = signature(body, people.signing_secret) if who == "machine" else bearer(token)
    headers = {
        str(name).lower(): str(value)
        for name, value in (case.headers or {}).items()
        if str(name).lower() not in ("authorization", "autobook-signature")
    }
    if body:
        headers.setdefault("content-type", case.media_type or "application/json")
    query = urlencode(case.query or {}, doseq=True, errors="surrogatepass")
    before = dict(target.statuses)
    target.send(method, path, body, headers | credentials, query)
    (status,) = [status for status, count in target.statuses.items() if count != before.get(status, 0)] or ["0"]
    return method, status


def run(kind: GenerationMode, people: People, target: Target, table_state: Books) -> int:
    """Send all cases of a kind; how many refused ones were seen to have written nothing."""
    chance, unwritten = random.Random(17), 0
    before = table_state.state()
    for case in cases(kind):
        method, status = send(case, people, target, chance)
        after = table_state.state()
        reads = method == "GET" and case.path != "/setup-intent/{id}"  # which saves the card that it is asked of
        if reads or not status.startswith(_SPOKEN):
            unwritten += 1
            if after != before:
                changed = [table for table in after if after[table] != before[table]]
                target.faults.append(f"{case.method} {case.path}: {status}, and wrote {changed}: {case.body!r:.300}")
        before = after
    return unwritten


def test_requests_that_the_description_allows(people: People, whole: Target, table_state: Books) -> None:
    run(GenerationMode.POSITIVE, people, whole, table_state)
    say(whole.report("described, sound"))
    whole.assert_sound()
    expected = scaled(PER_OPERATION)
    assert whole.sent >= expected * len(operations()) / 2, "some operations have few sound requests"
    assert len(whole.operations) >= len(operations()) - 1
    assert sum(count for status, count in whole.statuses.items() if status.startswith("2")) > 50


def test_requests_that_it_does_not_allow(people: People, whole: Target, table_state: Books) -> None:
    unwritten = run(GenerationMode.NEGATIVE, people, whole, table_state)
    say(f"{whole.report('described, unsound')}; {unwritten} seen to have written nothing")
    whole.assert_sound()
    assert unwritten > whole.sent / 2
    assert whole.sent >= scaled(PER_OPERATION) * len(operations()) / 2


def test_the_share_of_requests() -> None:
    """Each test counts what it sends; together they are what was promised."""
    described = 2 * PER_OPERATION * len(operations()) / 2
    alone = (
        test_refused_alone.BODIES + test_refused_alone.EDGES + test_refused_alone.EVENTS + test_refused_alone.MESSAGES
    )
    assert described + alone >= 20_000
