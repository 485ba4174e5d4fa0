"""Builds one SQL statement: names quoted, values as parameters, nothing else from outside."""

from functools import lru_cache
from typing import Self

from psycopg import sql


@lru_cache(maxsize=4096)
def quote(name: str) -> str:
    """Return the name as a quoted identifier, ready for a psycopg query (`%` doubled)."""
    # PostgREST cuts names at the first NUL, which Postgres could not hold anyway.
    return sql.Identifier(name.partition("\0")[0]).as_string().replace("%", "%%")


@lru_cache(maxsize=4096)
def literal(text: str) -> str:
    """Return the text as a quoted literal: only for what comes from the catalogue."""
    return sql.Literal(text).as_string().replace("%", "%%")


class Query:
    """A statement in the making: text with `%s` where its parameters go."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.params: list[object] = []

    @property
    def text(self) -> str:
        """The statement so far."""
        return "".join(self._parts)

    def raw(self, text: str) -> Self:
        """Append SQL that our own code wrote."""
        self._parts.append(text)
        return self

    def catalogue(self, text: str) -> Self:
        """Append SQL that Postgres itself wrote: a type's name, a column's default."""
        self._parts.append(text.replace("%", "%%"))
        return self

    def name(self, *names: str) -> Self:
        """Append an identifier, qualified when several names are given; empty ones are left out."""
        self._parts.append(".".join(quote(name) for name in names if name))
        return self

    def value(self, value: object) -> Self:
        """Append a value as a parameter; a `str` goes untyped, so that Postgres infers its type."""
        self._parts.append("%s")
        self.params.append(value)
        return self
