"""Writes the expressions that make a response's body, and its Location, of the rows of a statement.

Source: PostgREST 13 `src/PostgREST/Query/SqlFragment.hs` (`asJsonF`, `asJsonSingleF`, `asCsvF`, `locationF`).
"""

from local.supabase.catalog import Function, Table
from local.supabase.media import Media
from local.supabase.query import literal

_ROW = "_postgrest_t"
# Header: the keys of the first row; then each row as Postgres writes a composite value, without its parentheses.
_CSV = (
    "(select coalesce(string_agg(key, ','), '') from (select json_object_keys(row) as key"  # noqa: S608  # constants
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
        return "null::text[]"
    pair = "pair.key || '=' || coalesce('eq.' || pair.value, 'is.null')"
    return (
        f"case when count({_ROW}) = 1 then (select array_agg({pair})"  # noqa: S608  # names from the catalogue, quoted
        " from (select row_to_json(first) as row from pgrst_source as first limit 1) as rows"
        f" cross join json_each_text(rows.row) as pair where pair.key in ({keys})) end"
    )
