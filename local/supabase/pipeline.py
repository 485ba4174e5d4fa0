"""Several statements in one message: a transaction's beginning, its settings and its statement are one round trip.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html. Past psycopg's cursors, which take longer than
Postgres does for most of what the functions ask.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from select import POLLIN, POLLOUT, poll
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from local.supabase.catalog import Row

Statement = tuple[bytes, Sequence[bytes]]
"""SQL with `$1`, `$2`, … and its parameters, which are text of no said type."""

_KNOWN_AT_MOST = 300
_SUCCEEDED = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class PipelinedConnection(psycopg.Connection[Row]):
    """A connection that may send several statements at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen: set[bytes] = set()
        self._named: dict[bytes, bytes] = {}
        """The names of what is prepared, by its text."""
        self._awaited = poll()
        self._awaited.register(self.pgconn.socket, POLLIN)

    def command(self, statements: bytes) -> None:
        """Run what takes no parameters and whose rows nobody wants. Raises `psycopg.Error`."""
        result = self.pgconn.exec_(statements)
        if result.status not in _SUCCEEDED:
            raise error_from_result(result)

    def together(self, statements: Sequence[Statement]) -> Row:
        """Run all of them, none after one that fails, and give the one row of the last. Raises `psycopg.Error`.

        Outside of a transaction that was begun they are one by themselves, committed by then.
        """
        if len(self._seen) > _KNOWN_AT_MOST:
            self.command(b"deallocate all")
            self._named.clear()
            self._seen.clear()
        results: list[PGresult] = []
        self.pgconn.enter_pipeline_mode()
        try:
            sent = [each for text, parameters in statements for each in self._send(text, parameters)]
            self.pgconn.pipeline_sync()
            self._flush()
            for text in sent:
                results.append(self._result())
                if text is not None and results[-1].status == ExecStatus.COMMAND_OK:
                    self._named[text] = _name(text)
            end = self._next()
            while end is not None and end.status != ExecStatus.PIPELINE_SYNC:  # what only the commit could refuse
                results.append(end)
                self._next()
                end = self._next()
            self.pgconn.exit_pipeline_mode()
        except BaseException:
            # The connection is gone, or somebody stopped us halfway: nobody knows what would still come.
            self.close()
            _raise_failure(results)
            raise
        _raise_failure(results)
        transformer = Transformer(self)
        transformer.set_pgresult(results[-1])
        row: Row = transformer.load_rows(0, 1, tuple)[0]
        return row

    def _send(self, text: bytes, parameters: Sequence[bytes]) -> Iterator[bytes | None]:
        """Send one, prepared from its second time on; an item for each result, with the text of what is prepared."""
        if text not in self._seen:
            self._seen.add(text)
            self.pgconn.send_query_params(text, parameters)
            yield None
            return
        if text not in self._named:
            self.pgconn.send_prepare(_name(text), text)
            yield text
        self.pgconn.send_query_prepared(self._named.get(text) or _name(text), parameters)
        yield None

    def _flush(self) -> None:
        while self.pgconn.flush():  # the socket takes no more for now
            self._awaited.modify(self.pgconn.socket, POLLIN | POLLOUT)
            self._awaited.poll()
            self.pgconn.consume_input()
        self._awaited.modify(self.pgconn.socket, POLLIN)

    def _result(self) -> PGresult:
        result = self._next()
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        self._next()  # says that it has no second one
        return result

    def _next(self) -> PGresult | None:
        while self.pgconn.is_busy():
            self._awaited.poll()
            self.pgconn.consume_input()
        return self.pgconn.get_result()


def _name(text: bytes) -> bytes:
    """What a statement is called on every connection."""
    return blake2b(text, digest_size=12).hexdigest().encode()


def _raise_failure(results: Sequence[PGresult]) -> None:
    failed = next((result for result in results if result.status not in _SUCCEEDED), None)
    if failed is not None:
        raise error_from_result(failed)
