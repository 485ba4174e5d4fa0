"""Plans a whole request: the one statement to run, and what its answer will be made of.

Source: PostgREST 13 `src/PostgREST/Plan.hs` (`wrappedReadPlan`, `mutateReadPlan`, `callReadPlan`).
"""

from dataclasses import dataclass
from typing import Literal

from local.supabase.catalog import Catalog, Column, Function, Table
from local.supabase.errors import ApiError, not_supported
from local.supabase.functions import find_function
from local.supabase.media import Media, negotiate
from local.supabase.plan import Node, find_table, needed_columns, plan_tree
from local.supabase.query import Query
from local.supabase.request import Body, Request
from local.supabase.sql_body import body_sql, location_sql
from local.supabase.sql_write import Writer

Estimate = tuple[Literal["planned", "estimated"], Query]


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement, ready to run in its transaction."""

    query: Query
    media: Media
    read_only: bool
    function: Function | None = None
    count_estimate: Estimate | None = None
    limits_affected: bool = False
    has_conflict_target: bool = False


def plan_request(catalog: Catalog, request: Request, *, max_rows: int) -> Plan:
    """Plan a request. Raises `ApiError` for what the catalogue does not have, and 501 for what we do not do."""
    match request.action:
        case "read":
            return _plan_read(catalog, request, max_rows)
        case "call" | "call_read":
            return _plan_call(catalog, request, max_rows)
        case _:
            return _plan_change(catalog, request)


def _check_preferences(request: Request) -> None:
    preferences = request.preferences
    if preferences.strict and preferences.invalid:
        raise ApiError(
            400,
            "PGRST122",
            "Invalid preferences given with handling=strict",
            details="Invalid preferences: " + ", ".join(preferences.invalid),
        )


def _finish(writer: Writer, body: str, extras: str) -> None:
    """Write the outer select up to its `from`: the columns of `engine.Result`."""
    writer.query.raw(
        f"{extras}, {body}, nullif(current_setting('response.headers', true), ''), "
        "nullif(current_setting('response.status', true), ''), "
    )


def _count_source(writer: Writer, request: Request, root: Node, max_rows: int | None) -> str:
    """Write the CTE whose rows are counted; return the expression of the total.

    With `max_rows`, an estimate need not count further than one row more.
    """
    kind = request.preferences.count
    if kind not in ("exact", "estimated"):
        return "null::bigint"
    writer.query.raw(", pgrst_source_count as (")
    writer.count(root)
    if kind == "estimated" and max_rows is not None:
        writer.query.raw(f" limit {max_rows + 1}")
    writer.query.raw(")")
    return "(select count(*) from pgrst_source_count)"


def _estimate(catalog: Catalog, request: Request, root: Node) -> Estimate | None:
    kind = request.preferences.count
    if kind not in ("planned", "estimated"):
        return None
    counting = Writer(catalog)
    counting.count(root)
    return ("planned" if kind == "planned" else "estimated"), counting.query


def _plan_read(catalog: Catalog, request: Request, max_rows: int) -> Plan:
    table = find_table(catalog, request.schema, request.resource)
    root = plan_tree(
        catalog,
        schema=table.schema,
        table=table.name,
        query=request.query,
        from_source=False,
        filter_root=True,
        max_rows=max_rows,
    )
    media = negotiate(request.accept)
    _check_preferences(request)
    writer = Writer(catalog)
    writer.query.raw("with pgrst_source as (")
    writer.read(root)
    writer.query.raw(")")
    total = _count_source(writer, request, root, max_rows)
    writer.query.raw(" select ")
    _finish(writer, body_sql(media, None, wanted=not request.head), f"{total}, count(_postgrest_t)")
    writer.query.raw("null::bigint, null::text[] from (select * from pgrst_source) _postgrest_t")
    return Plan(writer.query, media, read_only=True, count_estimate=_estimate(catalog, request, root))


def _plan_call(catalog: Catalog, request: Request, max_rows: int) -> Plan:
    by_get = request.action == "call_read"
    pairs = request.query.arguments
    keys = frozenset(name for name, _ in pairs) if by_get else request.body.keys if request.body else frozenset()
    function = find_function(catalog, request, keys)
    if function.variadic:
        raise not_supported("variadic functions")
    if "/" in function.return_type:
        raise not_supported("functions that make their own media type")
    root = plan_tree(
        catalog,
        schema=function.schema,
        table=function.alias,
        query=request.query,
        from_source=True,
        filter_root=True,
        max_rows=max_rows,
    )
    media = negotiate(request.accept)
    _check_preferences(request)
    preferences = request.preferences
    if preferences.strict and preferences.max_affected is not None and not function.returns_set:
        raise ApiError(
            400,
            "PGRST128",
            "Function must return SETOF or TABLE when max-affected preference is used with handling=strict",
        )
    writer = Writer(catalog)
    writer.query.raw("with pgrst_source as (")
    writer.call(function, keys, pairs if by_get or request.body is None else request.body, root)
    writer.query.raw(")")
    total = _count_source(writer, request, root, None)  # no estimates for functions: counted, or (planned) not at all
    counted = "count(_postgrest_t)" if function.returns_set else "1::bigint"
    writer.query.raw(" select ")
    _finish(writer, body_sql(media, function, wanted=not request.head), f"{total}, {counted}")
    writer.query.raw("null::bigint, null::text[] from (")
    writer.read(root)
    writer.query.raw(") _postgrest_t")
    return Plan(writer.query, media, read_only=by_get or function.read_only, function=function, limits_affected=True)


def _typed_columns(table: Table, names: frozenset[str]) -> list[Column]:
    """Return the columns in alphabetical order. Raises `ApiError` PGRST204 for an unknown one."""
    columns = []
    for name in sorted(names):
        column = table.columns.get(name)
        if column is None:
            raise ApiError(
                400,
                "PGRST204",
                f"Could not find the '{name}' column of '{table.name}' in the schema cache",
            )
        columns.append(column)
    return columns


def _write_change(writer: Writer, request: Request, table: Table, returning: list[str]) -> None:
    """Write the statement that changes the table."""
    preferences, query = request.preferences, request.query
    conditions = [
        *(condition for path, condition in query.filters if not path),
        *(logic for _, logic in query.logic),
    ]
    if request.action == "delete":
        writer.delete(table, conditions, returning)
        return
    body = request.body or Body("[]", frozenset())
    columns = _typed_columns(table, body.keys)
    defaults = preferences.missing == "default"
    if request.action == "update":
        writer.update(table, columns, body, conditions, returning, defaults=defaults)
        return
    if table.is_view and (preferences.resolution is not None and query.on_conflict is None):
        raise not_supported("primary keys of views")
    conflict = query.on_conflict if query.on_conflict is not None else table.primary_key
    writer.insert(
        table,
        columns,
        body,
        returning,
        resolution=preferences.resolution,
        conflict=conflict,
        defaults=defaults,
    )


def _inserted_and_location(request: Request, table: Table) -> str:
    """Return the expressions of how many rows were new, and where the one new row is to be found."""
    inserting = request.action == "insert"
    merging = inserting and request.preferences.resolution == "merge-duplicates"
    inserted = "nullif(current_setting('pgrst.inserted', true), '')::bigint" if merging else "null::bigint"
    locating = inserting and request.preferences.representation == "headers-only"
    if locating and table.is_view:
        raise not_supported("primary keys of views")
    return f"{inserted}, {location_sql(table) if locating else 'null::text[]'}"


def _plan_change(catalog: Catalog, request: Request) -> Plan:
    table = find_table(catalog, request.schema, request.resource)
    root = plan_tree(
        catalog,
        schema=table.schema,
        table=table.name,
        query=request.query,
        from_source=True,
        filter_root=False,
        max_rows=None,
    )
    representation = request.preferences.representation
    full = representation == "representation"
    returning = needed_columns(root, table.primary_key) if full or representation == "headers-only" else []
    writer = Writer(catalog)
    writer.query.raw("with pgrst_source as (")
    _write_change(writer, request, table, returning)
    _check_preferences(request)
    media = negotiate(request.accept)
    writer.query.raw(") select ")
    _finish(writer, body_sql(media, None, wanted=full), "null::bigint, count(_postgrest_t)")
    writer.query.raw(f"{_inserted_and_location(request, table)} from (")
    if full:
        writer.read(root)
    else:
        writer.query.raw("select * from pgrst_source")
    writer.query.raw(") _postgrest_t")
    return Plan(
        writer.query,
        media,
        read_only=False,
        limits_affected=request.action != "insert",
        has_conflict_target=bool(table.primary_key) or request.query.on_conflict is not None,
    )
