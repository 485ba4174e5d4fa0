"""Builds one SQL statement: names quoted, values as parameters, nothing else from outside."""

from functools import cached_property, lru_cache
from typing import Self

from psycopg import DataError, sql


@lru_cache(maxsize=4096)
def quote(name: str) -> str:
    """Return the name as a quoted identifier."""
    # PostgREST cuts names at the first NUL, which Postgres could not hold anyway.
    return sql.Identifier(name.partition("\0")[0]).as_string()


@lru_cache(maxsize=4096)
def literal(text: str) -> str:
    """Return the text as a quoted literal: only for what comes from the catalogue."""
    return sql.Literal(text).as_string()


def parameter(text: str) -> bytes:
    """Return the text as it is sent. Raises DataError, as psycopg does, for what Postgres cannot hold."""
    if "\0" in text:
        raise no_nul()
    return text.encode()


def no_nul() -> DataError:
    """What psycopg raises for a text with U+0000."""
    return DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")


class Query:
    """A statement in the making: text with `$1`, `$2`, … where its parameters go.

    Parameters are text of no said type, so that Postgres infers what it is. None stands for the request's body, which
    is all that differs between two requests of the same form.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._params: list[bytes | None] = []

    @cached_property
    def text(self) -> bytes:
        """The whole statement; to be asked for when it is complete."""
        return "".join(self._parts).encode()

    def params(self, body: str) -> list[bytes]:
        """The parameters with the body in its place. Raises DataError for what Postgres cannot hold."""
        return [parameter(body) if value is None else value for value in self._params]

    def raw(self, text: str) -> Self:
        """Append SQL that our own code wrote."""
        self._parts.append(text)
        return self

    def catalogue(self, text: str) -> Self:
        """Append SQL that Postgres itself wrote: a type's name, a column's default."""
        return self.raw(text)

    def name(self, *names: str) -> Self:
        """Append an identifier, qualified when several names are given; empty ones are left out."""
        self._parts.append(".".join(quote(name) for name in names if name))
        return self

    def value(self, value: str) -> Self:
        """Append a value as a parameter. Raises DataError for what Postgres cannot hold."""
        return self._placeholder(parameter(value))

    def body(self) -> Self:
        """Append the request's body as a parameter."""
        return self._placeholder(None)

    def _placeholder(self, value: bytes | None) -> Self:
        self._params.append(value)
        self._parts.append(f"${len(self._params)}")
        return self
