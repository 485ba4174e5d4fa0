"""Writes the SQL that reads: columns, filters, embedded resources, order, limits.

Source: PostgREST 13 `src/PostgREST/Query/QueryBuilder.hs`, `src/PostgREST/Query/SqlFragment.hs`.
"""

from collections.abc import Sequence

from local.supabase.catalog import Catalog
from local.supabase.plan import Node, NullEmbed, known_field, output_alias
from local.supabase.query import Query
from local.supabase.request import Range
from local.supabase.syntax import Condition, Field, Filter, Operation

_OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "like",
    "ilike": "ilike",
    "match": "~",
    "imatch": "~*",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
}
_SEARCHES = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}

Qualifier = tuple[str, str]


class Reader:
    """Writes one statement against a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.query = Query()

    # ---------------------------------------------------------------------------------------------- fields, filters

    def column(self, qualifier: Qualifier, name: str) -> None:
        if name == "*":
            self.query.name(*qualifier).raw(".*")
        else:
            self.query.name(*qualifier, name)

    def _field(self, node: Node | None, qualifier: Qualifier, wanted: Field) -> None:
        if not wanted.path:
            self.column(qualifier, wanted.name)
            return
        type_name = known_field(self.catalog, node, wanted) if node is not None else None
        if type_name in ("json", "jsonb"):
            self.column(qualifier, wanted.name)
        else:
            self.query.raw("to_jsonb(")
            self.column(qualifier, wanted.name)
            self.query.raw(")")
        for step in wanted.path:
            self.query.raw(step.arrow).value(step.operand)
            if step.is_index:
                self.query.raw("::int")

    def _operation(self, operation: Operation) -> None:
        q, (value, *_) = self.query, operation.values
        match operation.operator:
            case "is":
                q.raw(f" is {_IS[value]}")
            case "isdistinct":
                q.raw(" is distinct from ").value(value)
            case "in" if operation.values == ("",):
                q.raw(" = any('{}')")
            case "in":
                q.raw(" = any(").value(_array_literal(operation.values)).raw(")")
            case "fts" | "plfts" | "phfts" | "wfts":
                q.raw(f" @@ {_SEARCHES[operation.operator]}(")
                if operation.language is not None:
                    q.value(operation.language).raw(", ")
                q.value(value).raw(")")
            case operator:
                if operator in ("like", "ilike"):
                    value = value.replace("*", "%")
                q.raw(f" {_OPERATORS[operator]} ")
                if operation.quantifier is not None:
                    q.raw(f"{operation.quantifier}(").value(value).raw(")")
                else:
                    q.value(value)

    def _filter(self, node: Node | None, qualifier: Qualifier, wanted: Filter) -> None:
        q = self.query
        if wanted.operation.negated:
            q.raw("not ")
        searches = wanted.operation.operator in _SEARCHES
        is_vector = node is not None and known_field(self.catalog, node, wanted.field) == "tsvector"
        if searches and not is_vector:
            q.raw("to_tsvector(")
            if wanted.operation.language is not None:
                q.value(wanted.operation.language).raw(", ")
            self._field(node, qualifier, wanted.field)
            q.raw(")")
        else:
            self._field(node, qualifier, wanted.field)
        self._operation(wanted.operation)

    def condition(self, node: Node | None, qualifier: Qualifier, condition: Condition) -> None:
        if isinstance(condition, Filter):
            self._filter(node, qualifier, condition)
            return
        self.query.raw("not (" if condition.negated else "(")
        for position, inner in enumerate(condition.conditions):
            if position:
                self.query.raw(f" {condition.operator} ")
            self.condition(node, qualifier, inner)
        self.query.raw(")")

    # ------------------------------------------------------------------------------------------------------- reading

    def _from(self, node: Node) -> None:
        q = self.query.raw(" from ")
        if node.from_source:
            q.raw("pgrst_source")
        else:
            q.name(node.schema, node.table)
        if node.from_alias is not None:
            q.raw(" as ").name(node.from_alias)
        junction = node.relationship.junction if node.relationship else None
        if junction is not None:
            q.raw(", ").name(junction.schema, junction.table)

    def _join_conditions(self, node: Node, parent: Node) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        rel = node.relationship
        if rel is None:
            return []
        above = ("", parent.from_alias) if parent.from_alias else (rel.schema, rel.table)
        if rel.junction is None:
            return [((*node.qualifier, there), (*above, here)) for here, there in rel.columns]
        middle = (rel.junction.schema, rel.junction.table)
        there = (rel.foreign_schema, rel.foreign_table)
        return [
            *(((*middle, b), (*there, a)) for a, b in rel.junction.target_columns),
            *(((*middle, b), (*above, a)) for a, b in rel.junction.source_columns),
        ]

    def _where(self, node: Node, parent: Node | None, *, counting: bool) -> None:
        q = self.query
        separator = " where "
        for condition in node.where:
            q.raw(separator)
            separator = " and "
            if not isinstance(condition, NullEmbed):
                self.condition(node, node.qualifier, condition)
            elif counting:
                child = next(c for c in node.children if c.aggregate_alias == condition.alias)
                q.raw("exists (" if condition.negated else "not exists (")
                self.count(child, node)
                q.raw(")")
            else:
                q.name(condition.alias)
                q.raw(" is distinct from null" if condition.negated else " is not distinct from null")
        for left, right in self._join_conditions(node, parent) if parent is not None else []:
            q.raw(separator).name(*left).raw(" = ").name(*right)
            separator = " and "
        for child in node.children if counting else []:
            if child.inner:
                q.raw(separator).raw("exists (")
                self.count(child, node)
                q.raw(")")
                separator = " and "

    def _select_list(self, node: Node) -> None:
        q = self.query
        separator = ""
        for item in node.select:
            q.raw(separator)
            separator = ", "
            if item.cast is not None:
                q.raw("cast(")
            self._field(node, node.qualifier, item.field)
            if item.cast is not None:
                # The grammar lets only letters, digits, `_`, `$` and spaces through.
                q.raw(f" as {item.cast})")
            if (alias := output_alias(item)) is not None:
                q.raw(" as ").name(alias)
        if not node.select and not node.children:
            self.column(node.qualifier, "*")
        for child in node.children:
            if child.shows_nothing:
                continue
            q.raw(separator)
            separator = ", "
            alias = child.aggregate_alias
            if child.relationship is not None and child.relationship.to_one:
                q.raw("row_to_json(").name(alias).raw(".*)::jsonb as ").name(child.label)
            else:
                q.raw("coalesce(").name(alias, alias).raw(", '[]') as ").name(child.label)

    def _join(self, child: Node, parent: Node) -> None:
        q, alias = self.query, child.aggregate_alias
        q.raw(" inner join lateral (" if child.inner else " left join lateral (")
        if child.relationship is not None and child.relationship.to_one:
            self.read(child, parent)
            q.raw(") as ").name(alias).raw(" on true")
            return
        q.raw("select json_agg(").name(alias).raw(")::jsonb as ").name(alias).raw(" from (")
        self.read(child, parent)
        q.raw(") as ").name(alias).raw(") as ").name(alias).raw(" on ")
        if child.inner:
            q.name(alias).raw(" is not null")
        else:
            q.raw("true")

    def _order(self, node: Node) -> None:
        q = self.query
        for position, term in enumerate(node.order):
            q.raw(", " if position else " order by ")
            if term.relation is not None:
                self._field(None, ("", term.relation), term.field)
            else:
                self._field(node, node.qualifier, term.field)
            if term.direction is not None:
                q.raw(f" {term.direction}")
            if term.nulls is not None:
                q.raw(f" nulls {term.nulls}")

    def _limit(self, rows: Range) -> None:
        if rows == Range():
            return
        self.query.raw(" limit ")
        if rows.limit is None:
            self.query.raw("all")
        else:
            self.query.value(str(rows.limit))
        self.query.raw(" offset ").value(str(rows.offset))

    def read(self, node: Node, parent: Node | None = None) -> None:
        """Write the select that reads a node and everything embedded in it."""
        self.query.raw("select ")
        self._select_list(node)
        self._from(node)
        for child in node.children:
            self._join(child, node)
        self._where(node, parent, counting=False)
        self._order(node)
        self._limit(node.range)

    def count(self, node: Node, parent: Node | None = None) -> None:
        """Write the select whose rows are to be counted: no limit, no columns."""
        self.query.raw("select 1")
        self._from(node)
        self._where(node, parent, counting=True)


def _array_literal(values: Sequence[str]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"
