"""The control routes: what came in, and faults before, inside and after the transaction."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import httpx
import psycopg
import pytest

from tests.local.supabase.conftest import StandIn, StartStandIn

CALL = "/rest/v1/rpc/add_mark"


@pytest.fixture(scope="module")
def controlled(make_database: Callable[[str], str], start_stand_in: StartStandIn) -> StandIn:
    url = make_database(
        "create table marks (id int generated always as identity);"
        "create function add_mark() returns int language sql as 'insert into marks default values returning id'"
    )
    return start_stand_in(url, control=True)


@pytest.fixture
def stand_in(controlled: StandIn) -> Iterator[StandIn]:
    yield controlled
    controlled.client.delete(f"{controlled.url}/_control/faults")
    controlled.client.post(f"{controlled.url}/_control/reset")


def add_faults(stand_in: StandIn, *rules: object) -> httpx.Response:
    return stand_in.client.post(f"{stand_in.url}/_control/faults", json=list(rules))


def rule(action: str, when: str = "before", match: str = CALL, **more: Any) -> dict[str, Any]:
    return {"match": match, "when": when, "action": action, **more}


def marks(stand_in: StandIn) -> int:
    with psycopg.connect(stand_in.database_url) as connection:
        row = connection.execute("select count(*) from marks").fetchone()
    assert row is not None
    return int(row[0])


def add_mark(stand_in: StandIn) -> httpx.Response:
    return stand_in.rest("POST", "/rpc/add_mark", json={})


def seen(stand_in: StandIn) -> dict[tuple[str, str], int]:
    listed = stand_in.client.get(f"{stand_in.url}/_control/requests").json()
    return {(entry["method"], entry["path"]): entry["count"] for entry in listed}


def test_requests_are_counted_until_reset(stand_in: StandIn) -> None:
    stand_in.rest("GET", "/marks?id=eq.5")
    stand_in.rest("GET", "/marks?id=eq.6")
    add_mark(stand_in)
    assert seen(stand_in) == {("GET", "/rest/v1/marks"): 2, ("POST", CALL): 1}
    stand_in.client.post(f"{stand_in.url}/_control/reset")
    assert seen(stand_in) == {}


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("before_commit", 0), ("after_commit", 1)])
def test_a_dropped_connection_leaves_what_was_committed(stand_in: StandIn, when: str, written: int) -> None:
    add_faults(stand_in, rule("drop_connection", when))
    before = marks(stand_in)
    with pytest.raises(httpx.RemoteProtocolError):
        add_mark(stand_in)
    assert marks(stand_in) == before + written
    assert add_mark(stand_in).status_code == 200  # it struck once


@pytest.mark.parametrize(
    ("action", "status", "code"),
    [
        ("http_503", 503, "PGRST001"),
        ("error:57014", 500, "57014"),
        ("error:23505", 409, "23505"),
        ("error:PT402", 402, "PT402"),
    ],
)
@pytest.mark.parametrize(("when", "written"), [("before_commit", 0), ("after_commit", 1)])
def test_an_error_on_demand(stand_in: StandIn, action: str, status: int, code: str, when: str, written: int) -> None:
    add_faults(stand_in, rule(action, when))
    before = marks(stand_in)
    answer = add_mark(stand_in)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert marks(stand_in) == before + written


def test_a_delay_holds_the_answer_back(stand_in: StandIn) -> None:
    add_faults(stand_in, rule("delay_ms:120", "before_commit"))
    started = monotonic()
    assert add_mark(stand_in).status_code == 200
    assert monotonic() - started >= 0.12


def test_faults_count_down_and_can_be_for_ever(stand_in: StandIn) -> None:
    add_faults(stand_in, rule("http_503", times=2), rule("http_503", match="^/rest/v1/(marks|nothing)$", times=None))
    assert [add_mark(stand_in).status_code for _ in range(3)] == [503, 503, 200]
    assert [stand_in.rest("GET", "/marks").status_code for _ in range(3)] == [503, 503, 503]
    left = stand_in.client.get(f"{stand_in.url}/_control/faults").json()
    assert [(fault["match"], fault["times"]) for fault in left] == [("^/rest/v1/(marks|nothing)$", None)]
    stand_in.client.delete(f"{stand_in.url}/_control/faults")
    assert stand_in.rest("GET", "/marks").status_code == 200


def test_sign_in_can_be_disturbed_too(stand_in: StandIn) -> None:
    add_faults(stand_in, rule("http_503", match="/auth/v1/token"))
    answer = stand_in.client.post(f"{stand_in.url}/auth/v1/token?grant_type=password", json={})
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "wrong",
    [
        "no object",
        rule("explode"),
        rule("error:1"),
        rule("http_503", "during"),
        rule("http_503", times=0),
        rule("http_503", match="^("),
        {"action": "http_503"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(stand_in: StandIn, wrong: object) -> None:
    answer = add_faults(stand_in, wrong)
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert stand_in.client.get(f"{stand_in.url}/_control/faults").json() == []


def test_without_the_switch_there_are_no_control_routes(
    make_database: Callable[[str], str], start_stand_in: StartStandIn
) -> None:
    plain = start_stand_in(make_database(""))
    assert plain.client.get(f"{plain.url}/_control/requests").status_code == 404
