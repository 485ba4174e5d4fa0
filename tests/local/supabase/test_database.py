"""Connections and catalogue: a database that goes away, a pool that is full, a schema that changes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local.postgres import PostgresServer
from local.supabase.bootstrap import apply_bootstrap
from tests.local.supabase.conftest import StandIn, StartStandIn, pid_of_running

MakeDatabase = Callable[[str], str]


@pytest.fixture(scope="module")
def project(make_database: MakeDatabase, start_stand_in: StartStandIn) -> StandIn:
    url = make_database(
        "create function add(a int, b int) returns int language sql as 'select a + b';"
        "create function nap(s float) returns void language sql as 'select pg_sleep(s)';"
        "create sequence tries;"
        "create function third_time_lucky() returns bigint language plpgsql as $$ begin "
        "  if nextval('tries') < 3 then raise exception using errcode = '40001', message = 'again'; end if; "
        "  return currval('tries'); end $$;"
        "create table parents (id int primary key);"
        "create table children (id int primary key, parent_id int references parents deferrable initially deferred)"
    )
    return start_stand_in(url)


@pytest.mark.parametrize(("role", "timeout"), [("service_role", "8s"), ("authenticated", "8s"), ("anon", "3s")])
def test_statements_have_the_time_of_their_role(project: StandIn, role: str, timeout: str) -> None:
    project.sql(
        "create or replace function limits() returns text language sql stable as $$ select "
        "concat_ws(' ', session_user, current_setting('statement_timeout'), current_setting('lock_timeout')) $$"
    )
    answer = project.rest("POST", "/rpc/limits", json={}, headers=project.role_headers(role))
    assert answer.json() == f"authenticator {timeout} 8s"


def test_thirty_callers_at_once(project: StandIn) -> None:
    def work(number: int) -> list[int]:
        with httpx.Client(headers=project.role_headers("service_role"), timeout=15) as client:
            url = f"{project.url}/rest/v1/rpc/add"
            return [client.post(url, json={"a": number, "b": n}).json() for n in range(10)]

    with ThreadPoolExecutor(30) as pool:
        results = list(pool.map(work, range(30)))
    assert results == [[number + n for n in range(10)] for number in range(30)]


def test_a_full_pool_is_a_504(make_database: MakeDatabase, start_stand_in: StartStandIn) -> None:
    url = make_database("create function nap(s float) returns void language sql as 'select pg_sleep(s)'")
    small = start_stand_in(url, pool_size=1, pool_timeout_seconds=0.1)
    assert small.rest("POST", "/rpc/nap", json={"s": 0}).status_code == 204
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda s: small.rest("POST", "/rpc/nap", json={"s": s}), (0.6, 0.6)))
    assert sorted(answer.status_code for answer in answers) == [204, 504]
    refused = next(answer for answer in answers if answer.status_code == 504)
    assert refused.json() == {
        "code": "PGRST003",
        "details": None,
        "hint": None,
        "message": "Timed out acquiring connection from connection pool.",
    }


def test_a_serialization_failure_is_tried_again(project: StandIn) -> None:
    assert project.rest("POST", "/rpc/third_time_lucky", json={}).json() == 3


def test_what_fails_at_commit_is_told(project: StandIn) -> None:
    answer = project.rest("POST", "/children", json={"id": 1, "parent_id": 9})
    assert (answer.status_code, answer.json()["code"]) == (409, "23503")
    assert project.rest("GET", "/children").json() == []


def test_a_connection_ended_by_an_administrator_is_replaced(project: StandIn) -> None:
    """The caller who was using it hears of it, the next one does not."""
    with ThreadPoolExecutor(1) as pool:
        napping = pool.submit(project.rest, "POST", "/rpc/nap", json={"s": 5})
        pid = pid_of_running(project.database_url, "nap", napping)
        project.sql(f"select pg_terminate_backend({pid})")
        answer = napping.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "57P01")
    assert project.rest("POST", "/rpc/add", json={"a": 1, "b": 1}).json() == 2


@pytest.fixture
def fragile(start_stand_in: StartStandIn) -> Iterator[tuple[PostgresServer, StandIn]]:
    """A stand-in over a server that the test may take away."""
    with PostgresServer.start() as server:
        url = server.create_database("fragile")
        apply_bootstrap(url)
        yield server, start_stand_in(url)


def test_a_lost_database_is_a_503_until_it_is_back(fragile: tuple[PostgresServer, StandIn]) -> None:
    server, stand_in = fragile
    stand_in.sql("create function one() returns int language sql as 'select 1'")
    assert stand_in.rest("POST", "/rpc/one", json={}).json() == 1
    server.halt()
    codes = set()
    for _ in range(3):
        answer = stand_in.rest("POST", "/rpc/one", json={})
        assert answer.status_code == 503
        codes.add(answer.json()["code"])
    assert codes <= {"PGRST000", "PGRST001", "57P01"}
    assert "PGRST000" in codes
    server.resume()
    assert stand_in.rest("POST", "/rpc/one", json={}).json() == 1


def test_new_objects_are_found_at_once(project: StandIn) -> None:
    assert project.rest("GET", "/fresh").json()["code"] == "PGRST205"
    project.sql("create table fresh (id int primary key)")
    assert project.rest("GET", "/fresh").json() == []
    assert project.rest("POST", "/rpc/fresh_sum", json={"a": 1}).json()["code"] == "PGRST202"
    project.sql("create function fresh_sum(a int) returns int language sql as 'select a + 1'")
    assert project.rest("POST", "/rpc/fresh_sum", json={"a": 1}).json() == 2
    project.sql("alter table fresh add column note text")
    assert project.rest("POST", "/fresh", json={"id": 1, "note": "x"}).status_code == 201


def test_a_changed_function_is_known_after_a_notification(project: StandIn) -> None:
    """A function that was stable and now writes: the old plan would open a read-only transaction."""
    project.sql("create function writes() returns int language sql stable as 'select 1'")
    assert project.rest("POST", "/rpc/writes", json={}).json() == 1
    project.sql(
        "create table written (id int);"
        "create or replace function writes() returns int language sql volatile as "
        "'insert into written values (2) returning id';"
        "notify pgrst, 'reload schema'"
    )
    answers = (project.rest("POST", "/rpc/writes", json={}) for _ in range(100))
    assert next(answer.json() for answer in answers if answer.status_code == 200) == 2


def test_prepared_statements_survive_a_changed_table(project: StandIn) -> None:
    project.sql("create table shape (id int primary key); insert into shape values (1)")
    for _ in range(5):
        assert project.rest("GET", "/shape").json() == [{"id": 1}]
    project.sql("alter table shape add column name text default 'x'; alter table shape alter column id type bigint")
    assert project.rest("GET", "/shape").json() == [{"id": 1, "name": "x"}]
