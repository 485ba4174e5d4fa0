"""Stripe's search query language (https://docs.stripe.com/search#search-query-language).

``field:'value'``, ``field~'part'``, ``field>1`` and its like, ``metadata['key']:'value'``, ``-`` for not, ``null``
for absent, joined by AND or by OR, never both, and no parentheses.
"""

from __future__ import annotations

import base64
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.stripe.errors import invalid_param

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_CLAUSE = re.compile(
    r"""\s*(?P<not>-)?(?P<field>[a-z0-9_.]+)(?:\[(?P<quote>["'])(?P<key>(?:(?!(?P=quote)).)*)(?P=quote)\])?
    \s*(?P<op>:|~|>=|<=|>|<)\s*
    (?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|-?\d+|null)\s*""",
    re.VERBOSE,
)
_JOIN = re.compile(r"\s*(AND|OR)\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Clause:
    negated: bool
    field: str
    key: str | None
    op: str
    value: str | None

    def fits(self, row: Json) -> bool:
        found = row.get(self.field)
        if self.key is not None:
            found = (found or {}).get(self.key)
        return self._compare(found) != self.negated

    def _compare(self, found: Any) -> bool:
        if self.value is None:
            return found is None
        if found is None:
            return False
        if self.op == ":":
            return str(found).lower() == self.value.lower()
        if self.op == "~":
            return self.value.lower() in str(found).lower()
        number = int(self.value)
        comparison = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}[self.op]
        return bool(comparison(found, number))


def search(world: StripeWorld, rows: Iterable[Json], call: Call, fields: set[str], url: str) -> Json:
    """Answer a search call over rows in creation order, newest first; 400 for a query Stripe would refuse."""
    clauses, joined = _parse(call.params["query"], fields)
    together = all if joined == "AND" else any
    horizon = world.clock.now() - world.settings.search_lag_seconds
    lagging = world.settings.search_lag_seconds > 0
    found = [
        row
        for row in reversed(list(rows))
        if not (lagging and row["created"] > horizon) and together(clause.fits(row) for clause in clauses)
    ]
    start = _offset(call.params.get("page"))
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid_param("Invalid limit: must be between 1 and 100.", "limit", "parameter_invalid_integer")
    more = len(found) > start + limit
    next_page = base64.urlsafe_b64encode(str(start + limit).encode()).decode() if more else None
    return {
        "object": "search_result",
        "url": url,
        "has_more": more,
        "next_page": next_page,
        "data": found[start : start + limit],
    }


def _offset(page: str | None) -> int:
    if page is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(page.encode()))
    except ValueError:
        raise invalid_param("Invalid page token.", "page") from None


def _parse(query: str, fields: set[str]) -> tuple[list[_Clause], str]:
    clauses: list[_Clause] = []
    joins: set[str] = set()
    position = 0
    while True:
        match = _CLAUSE.match(query, position)
        if match is None:
            raise _unreadable("We were unable to parse your search query.")
        clauses.append(_clause(match, fields))
        position = match.end()
        if position == len(query):
            break
        join = _JOIN.match(query, position)
        # "A space between two clauses" means AND.
        joins.add(join.group(1).upper() if join else "AND")
        position = join.end() if join else position
    if len(joins) > 1:
        raise _unreadable("You can't combine AND and OR in one query.")
    return clauses, next(iter(joins), "AND")


def _clause(match: re.Match[str], fields: set[str]) -> _Clause:
    field, value, op = match["field"], match["value"], match["op"]
    if field not in fields:
        raise _unreadable(f"Field `{field}` is an unsupported search field for this resource.")
    text = None if value == "null" else value
    if text is not None and text[0] in "'\"":
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    if op in {">", "<", ">=", "<="} and (text is None or not re.fullmatch(r"-?\d+", text)):
        raise _unreadable(f"Field `{field}` needs a number after `{op}`.")
    if op == "~" and len(text or "") < 3:
        raise _unreadable("Substring searches need at least three characters.")
    return _Clause(match["not"] is not None, field, match["key"], op, text)


def _unreadable(why: str) -> Exception:
    return invalid_param(f"{why} See https://stripe.com/docs/search#search-query-language.", "query")
