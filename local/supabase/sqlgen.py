"""Writes the SQL of a planned request.

Source: PostgREST 13 `src/PostgREST/Query/QueryBuilder.hs`, `SqlFragment.hs`, `Statements.hs`.
"""

from collections.abc import Sequence
from typing import Literal

from local.supabase.catalog import Catalog, Column, Function, Table
from local.supabase.media import Media
from local.supabase.plan import Node, NullEmbed, filtered_columns, known_field, needed_columns, output_alias
from local.supabase.query import Query, literal
from local.supabase.request import Body, Range
from local.supabase.syntax import Condition, Field, Filter, Logic, Operation

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


class Writer:
    """Writes one statement against a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.query = Query()

    # ---------------------------------------------------------------------------------------------- fields, filters

    def _column(self, qualifier: Qualifier, name: str) -> None:
        if name == "*":
            self.query.name(*qualifier).raw(".*")
        else:
            self.query.name(*qualifier, name)

    def _field(self, node: Node | None, qualifier: Qualifier, wanted: Field) -> None:
        if not wanted.path:
            self._column(qualifier, wanted.name)
            return
        type_name = known_field(self.catalog, node, wanted) if node is not None else None
        if type_name in ("json", "jsonb"):
            self._column(qualifier, wanted.name)
        else:
            self.query.raw("to_jsonb(")
            self._column(qualifier, wanted.name)
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

    def _condition(self, node: Node | None, qualifier: Qualifier, condition: Condition) -> None:
        if isinstance(condition, Filter):
            self._filter(node, qualifier, condition)
            return
        self.query.raw("not (" if condition.negated else "(")
        for position, inner in enumerate(condition.conditions):
            if position:
                self.query.raw(f" {condition.operator} ")
            self._condition(node, qualifier, inner)
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
                self._condition(node, node.qualifier, condition)
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
            self._column(node.qualifier, "*")
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

    # ---------------------------------------------------------------------------------------------------------- body

    def _payload(self, body: Body, columns: Sequence[Column], *, defaults: bool, one: bool = False) -> None:
        """Write the `from` that turns the body into rows `pgrst_body`."""
        q, kind = self.query, "jsonb" if defaults else "json"
        q.raw(" from (select ").value(body.text).raw(f"::{kind} as json_data) pgrst_payload, ")
        source = "pgrst_payload.json_data"
        if defaults:
            source = "pgrst_json_defs.val"
            if body.is_object:
                q.raw("lateral (select ")
                self._defaults(columns)
                q.raw(" || pgrst_payload.json_data as val) pgrst_json_defs, ")
            else:
                q.raw("lateral (select jsonb_agg(")
                self._defaults(columns)
                q.raw(" || elem) as val from jsonb_array_elements(pgrst_payload.json_data) elem) pgrst_json_defs, ")
        q.raw("lateral (select ")
        self._names(columns)
        if not columns:
            q.raw(" from (values (1)) _" if body.is_object else f" from {kind}_array_elements({source}) _")
        else:
            q.raw(f" from {kind}_to_record{'' if body.is_object else 'set'}({source}) as _(")
            for position, column in enumerate(columns):
                q.raw(", " if position else "").name(column.name).raw(" ").catalogue(column.type_name)
            q.raw(")")
            if one:
                q.raw(" limit 1")
        q.raw(") pgrst_body")

    def _defaults(self, columns: Sequence[Column]) -> None:
        self.query.raw("jsonb_build_object(")
        separator = ""
        for column in columns:
            if column.default is not None:
                self.query.raw(f"{separator}{literal(column.name)}, ").catalogue(column.default)
                separator = ", "
        self.query.raw(")")

    def _names(self, columns: Sequence[Column], *qualifier: str) -> None:
        for position, column in enumerate(columns):
            self.query.raw(", " if position else "").name(*qualifier, column.name)

    def _returning(self, table: Table, names: Sequence[str]) -> None:
        self.query.raw(" returning ")
        if not names:
            self.query.raw("1")
        for position, name in enumerate(names):
            self.query.raw(", " if position else "")
            self._column((table.schema, table.name), name)

    # ---------------------------------------------------------------------------------------------- changing, calling

    def insert(
        self,
        table: Table,
        columns: Sequence[Column],
        body: Body,
        returning: Sequence[str],
        *,
        resolution: str | None,
        conflict: Sequence[str],
        defaults: bool,
    ) -> None:
        """Write the insert or, with a resolution, the upsert."""
        q = self.query.raw("insert into ").name(table.schema, table.name)
        if columns:
            q.raw("(")
            self._names(columns)
            q.raw(")")
        q.raw(" select ")
        self._names(columns, "pgrst_body")
        self._payload(body, columns, defaults=defaults)
        merge = resolution == "merge-duplicates"
        if merge:
            q.raw(f" where {_counted('+ 1')} <> '0'")
        if resolution is not None and conflict:
            q.raw(" on conflict(")
            for position, name in enumerate(conflict):
                q.raw(", " if position else "").name(name)
            q.raw(") do ")
            if not merge or not columns:
                q.raw("nothing")
            else:
                q.raw("update set ")
                for position, column in enumerate(columns):
                    q.raw(", " if position else "").name(column.name).raw(" = excluded.").name(column.name)
                q.raw(f" where {_counted('- 1')} <> '-1'")
        self._returning(table, returning)

    def update(
        self,
        table: Table,
        columns: Sequence[Column],
        body: Body,
        conditions: Sequence[Condition],
        returning: Sequence[str],
        *,
        defaults: bool,
    ) -> None:
        """Write the update; without columns it is a select of no rows."""
        q = self.query
        if not columns:
            q.raw("select ")
            if not returning:
                q.raw("null")
            for position, name in enumerate(returning):
                q.raw(", " if position else "")
                self._column(("", table.name), name)
            q.raw(" from ").name(table.schema, table.name).raw(" where false")
            return
        q.raw("update ").name(table.schema, table.name).raw(" set ")
        for position, column in enumerate(columns):
            q.raw(", " if position else "").name(column.name).raw(" = ").name("pgrst_body", column.name)
        self._payload(body, columns, defaults=defaults)
        self._conditions(table, conditions)
        self._returning(table, returning)

    def delete(self, table: Table, conditions: Sequence[Condition], returning: Sequence[str]) -> None:
        """Write the delete."""
        self.query.raw("delete from ").name(table.schema, table.name)
        self._conditions(table, conditions)
        self._returning(table, returning)

    def _conditions(self, table: Table, conditions: Sequence[Condition]) -> None:
        node = Node(table.schema, table.name, table.name, None, inner=False, depth=0)
        for position, condition in enumerate(conditions):
            self.query.raw(" and " if position else " where ")
            self._condition(node, (table.schema, table.name), condition)

    def call(
        self, function: Function, keys: frozenset[str], arguments: "Body | Sequence[tuple[str, str]]", root: Node
    ) -> None:
        """Write the call; arguments are a JSON body, or pairs of name and value from a query string."""
        q = self.query.raw("select ")
        if not function.returns_composite:
            q.raw("pgrst_call.pgrst_scalar")
        else:
            self._call_columns(root)
        unnamed = len(function.parameters) == 1 and not function.parameters[0].name
        given = [parameter for parameter in function.parameters if parameter.name in keys]
        columns = [Column(p.name, p.type_name, None) for p in given]
        from_json = isinstance(arguments, Body) and not unnamed and bool(given)
        if isinstance(arguments, Body) and from_json:
            self._payload(arguments, columns, defaults=False, one=True)
            q.raw(", lateral ")
        else:
            q.raw(" from ")
        if not function.returns_composite:
            q.raw("(select ")
        q.name(function.schema, function.name).raw("(")
        if unnamed and isinstance(arguments, Body):
            q.value(arguments.text).raw("::").catalogue(function.parameters[0].type_name)
        elif from_json:
            for position, parameter in enumerate(given):
                q.raw(", " if position else "").name(parameter.name).raw(" := ")
                q.name("pgrst_body", parameter.name)
        elif not isinstance(arguments, Body):
            values = dict(arguments)
            for position, parameter in enumerate(given):
                q.raw(", " if position else "").name(parameter.name).raw(" := ").value(values[parameter.name])
                q.raw("::").catalogue(parameter.type_name)
        q.raw(") pgrst_scalar) pgrst_call" if not function.returns_composite else ") pgrst_call")

    def _call_columns(self, root: Node) -> None:
        names = needed_columns(root, ())
        if names == ["*"]:
            self.query.raw("pgrst_call.*")
        elif not names:
            self.query.raw("*")
        else:
            for position, name in enumerate(sorted({*names, *filtered_columns(root)})):
                self.query.raw(", " if position else "").name("pgrst_call", name)


def _counted(step: Literal["+ 1", "- 1"]) -> str:
    """Count rows inserted by an upsert in a setting: each row adds one, each conflict takes it back."""
    return (
        "set_config('pgrst.inserted', (coalesce(nullif(current_setting('pgrst.inserted', true), '')::int, 0) "
        f"{step})::text, true)"
    )


def _array_literal(values: Sequence[str]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


_ROW = "_postgrest_t"
# Header: the keys of the first row; then each row as Postgres writes a composite value, without its parentheses.
_CSV = (
    "(select coalesce(string_agg(key, ','), '') from (select json_object_keys(row) as key"
    " from (select row_to_json(first) as row from pgrst_source as first limit 1) as rows) as keys)"
    f" || E'\\n' || coalesce(string_agg(substring({_ROW}::text, 2, length({_ROW}::text) - 2), E'\\n'), '')"
)


def body_sql(media: Media, function: Function | None, *, wanted: bool) -> str:
    """Return the expression that makes the whole body, over rows called `_postgrest_t`."""
    if not wanted:
        return "''"
    if media.shape == "csv":
        return _CSV
    scalar = function is not None and not function.returns_composite
    single = function is not None and not function.returns_set
    aggregated = f"json_agg({_ROW}.pgrst_scalar)" if scalar else f"json_agg({_ROW})"
    if media.shape == "object":
        # Of a set of scalars, PostgREST's single object is the first row with its column.
        of_set = function is not None and function.returns_set
        value = f"json_agg({_ROW})->0" if of_set else f"{aggregated}->0"
        otherwise = "null"
    elif single:
        value, otherwise = f"{aggregated}->0", "null"
    else:
        value, otherwise = aggregated, "[]"
    if media.strip_nulls:
        value = f"json_strip_nulls({value})"
    return f"coalesce({value}, '{otherwise}')::text"


def location_sql(table: Table) -> str:
    """Return the expression of the new row's key, as a query string's pairs in an array."""
    keys = ", ".join(literal(name) for name in table.primary_key)
    if not keys:
        return "null"
    return (
        f"case when count({_ROW}) = 1 then (select array_agg(pair.key || '=' || coalesce('eq.' || pair.value, 'is.null'))"
        " from (select row_to_json(first) as row from pgrst_source as first limit 1) as rows"
        f" cross join json_each_text(rows.row) as pair where pair.key in ({keys})) end"
    )


__all__ = ["Logic", "Writer", "body_sql", "location_sql"]
