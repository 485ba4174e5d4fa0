"""Writes the SQL that changes rows and calls functions, around the SQL that reads.

Source: PostgREST 13 `src/PostgREST/Query/QueryBuilder.hs`, `src/PostgREST/Query/SqlFragment.hs`.
"""

from collections.abc import Sequence
from typing import Literal

from local.supabase.catalog import Column, Function, Table
from local.supabase.plan import Node, filtered_columns, needed_columns
from local.supabase.query import literal
from local.supabase.request import Body
from local.supabase.sql_read import Reader
from local.supabase.syntax import Condition


class Writer(Reader):
    """Writes one statement against a catalogue."""

    def _payload(self, body: Body, columns: Sequence[Column], *, defaults: bool, one: bool = False) -> None:
        """Write the `from` that turns the body into rows `pgrst_body`."""
        q, kind = self.query, "jsonb" if defaults else "json"
        q.raw(" from (select ").body().raw(f"::{kind} as json_data) pgrst_payload, ")
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
            self.column((table.schema, table.name), name)

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
                self.column(("", table.name), name)
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
            self.condition(node, (table.schema, table.name), condition)

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
            q.body().raw("::").catalogue(function.parameters[0].type_name)
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
