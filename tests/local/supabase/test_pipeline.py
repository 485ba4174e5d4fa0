"""Several statements in one round trip: what one of them breaks, and what is left of the connection."""

from collections.abc import Iterator

import psycopg
import pytest

from local.supabase import pipeline
from local.supabase.pipeline import PipelinedConnection


@pytest.fixture
def connection(database_url: str) -> Iterator[PipelinedConnection]:
    with PipelinedConnection.connect(database_url, autocommit=True) as connected:
        yield connected


def _begin_and(connection: PipelinedConnection, text: bytes, *parameters: bytes) -> object:
    return connection.together([(b"begin", ()), (text, parameters)])


def test_gives_the_row_of_the_last(connection: PipelinedConnection) -> None:
    for _ in range(3):  # as it is, then prepared, then by its name
        row = _begin_and(connection, b"select $1::int + 1, $2, array['a', null]", b"41", b"\xc3\xa9")
        assert row == (42, "é", ["a", None])
        connection.command(b"commit")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_after_a_failure_comes_nothing_and_the_connection_is_good(connection: PipelinedConnection, times: int) -> None:
    connection.command(b"create temporary table kept (number int)")
    failing = (b"select 1 / $1::int", [b"1"])
    for _ in range(times - 1):
        connection.together([failing])
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.together([(failing[0], [b"0"]), (b"insert into kept values (1) returning number", ())])
    assert connection.together([(b"select count(*) from kept", ())]) == (0,)
    assert connection.together([failing]) == (1,)


def test_what_cannot_be_prepared_is_no_name(connection: PipelinedConnection) -> None:
    connection.command(b"create temporary table here (number int)")
    for _ in range(2):
        assert connection.together([(b"select count(*) from here", ())]) == (0,)
    connection.command(b"drop table here")
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.together([(b"select count(*) from here where number = 1", ())])
    connection.command(b"create temporary table here (number int)")
    assert connection.together([(b"select count(*) from here where number = 1", ())]) == (0,)


def test_an_open_transaction_is_rolled_back_as_any(connection: PipelinedConnection) -> None:
    connection.command(b"create temporary table kept (number int)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.together([(b"begin", ()), (b"insert into kept values (1)", ()), (b"select 1 / $1::int", [b"0"])])
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    connection.command(b"rollback")
    assert connection.together([(b"select count(*) from kept", ())]) == (0,)


def test_more_than_the_sockets_hold(connection: PipelinedConnection) -> None:
    body = b"x" * 20_000_000
    assert connection.together([(b"select $1::text", [body])]) == (body.decode(),)


def test_a_connection_that_is_ended_says_why(connection: PipelinedConnection, database_url: str) -> None:
    pid = connection.info.backend_pid
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [pid])
        with pytest.raises(psycopg.OperationalError) as raised:
            connection.together([(b"begin", ()), (b"select pg_sleep(5)::text", ())])
    assert raised.value.sqlstate == "57P01"
    assert connection.closed


def test_forgets_what_it_prepared_before_it_is_too_much(
    connection: PipelinedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_KNOWN_AT_MOST", 10)
    for number in range(30):
        for _ in range(2):
            assert connection.together([(b"select %d" % number, ())]) == (number,)
    prepared = connection.together([(b"select count(*) from pg_prepared_statements", ())])
    assert prepared[0] <= 11


def test_without_a_beginning_they_are_one_transaction(database_url: str, connection: PipelinedConnection) -> None:
    """Settings hold until its end, a failure undoes all of it, and what is done can be seen by others at once."""
    connection.command(b"create table kept (number int)")
    insert = b"insert into kept values ($1::int) returning current_setting('autobook.now', true)"
    told = (b"select set_config('autobook.now', $1, true)", [b"7"])
    try:
        for times in range(1, 4):
            assert connection.together([told, (insert, [b"1"])]) == ("7",)
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.together([told, (insert, [b"2"]), (b"select 1 / $1::int", [b"0"])])
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            with psycopg.connect(database_url) as other:
                assert other.execute("select number from kept").fetchall() == [(1,)] * times
        assert connection.together([(b"select current_setting('autobook.now', true)", ())]) != ("7",)
    finally:
        connection.command(b"drop table kept")


def test_what_only_the_commit_refuses_is_raised(connection: PipelinedConnection) -> None:
    connection.command(b"create temporary table kept (number int unique deferrable initially deferred)")
    insert = (b"insert into kept values (1) returning number", ())
    assert connection.together([insert]) == (1,)
    for _ in range(3):
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.together([insert])
    assert connection.together([(b"select count(*) from kept", ())]) == (1,)
