"""Reads the catalogue.

Source: PostgREST 13 `src/PostgREST/SchemaCache.hs`, `src/PostgREST/Config/Database.hs`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from psycopg import Connection

from local.supabase import catalog_queries
from local.supabase.catalog import (
    Catalog,
    Column,
    Function,
    Junction,
    Parameter,
    Relationship,
    RoleSettings,
    Row,
    Table,
)

# PostgREST's db-hoisted-tx-settings: a function's own value is set before its transaction's statement begins.
_HOISTED = ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation")
_ISOLATION = "default_transaction_isolation"


def _split(settings: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [setting.partition("=") for setting in settings]
    return [(name, value) for name, _, value in pairs]


def _function(row: Row) -> Function | None:
    """Make a function of its row; None when it has unnamed parameters that nothing can be passed to."""
    (schema, name, types, names, modes, defaults, returns_set, composite, return_type) = row[:9]
    (type_schema, type_name, volatility, variadic, config, count) = row[9:]
    inputs = names or [""] * count
    if modes is not None:
        inputs = [n for n, mode in zip(inputs, modes, strict=False) if mode in ("i", "b", "v")]
    unnamed = [type_ for type_, n in zip(types, inputs, strict=False) if not n]
    if names is None and (len(unnamed) > 1 or not {"bytea", "json", "jsonb", "text", "xml"}.issuperset(unnamed)):
        return None
    parameters = tuple(
        Parameter(n, _unbounded(type_), required=position < count - defaults)
        for position, (n, type_) in enumerate(zip(inputs, types, strict=False))
    )
    settings = _split(config)
    return Function(
        schema=schema,
        name=name,
        parameters=parameters,
        returns_set=returns_set,
        returns_composite=composite,
        returns_void=not returns_set and not composite and (type_schema, type_name) == ("pg_catalog", "void"),
        return_type=return_type,
        read_only=volatility in ("s", "i"),
        variadic=variadic,
        settings=tuple(pair for pair in settings if pair[0] in _HOISTED and pair[0] != _ISOLATION),
        isolation=next((value.lower() for key, value in settings if key == _ISOLATION), None),
    )


def _unbounded(type_name: str) -> str:
    """Return a type that takes values of any length, for those which cut to one character by default."""
    return {
        "bit": "bit varying",
        "bit[]": "bit varying[]",
        "character": "character varying",
        "character[]": "character varying[]",
    }.get(type_name, type_name)


def _direct(row: Row) -> Relationship:
    schema, table, foreign_schema, foreign_table, constraint, names, foreign_names, unique = row
    columns = tuple(zip(names, foreign_names, strict=True))
    cardinality: Literal["one-to-one", "many-to-one"] = "one-to-one" if unique else "many-to-one"
    return Relationship(schema, table, foreign_schema, foreign_table, cardinality, constraint, columns)


def _swap(columns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((there, here) for here, there in columns)


def _inverse(rel: Relationship) -> Relationship:
    cardinality: Literal["one-to-one", "one-to-many"] = (
        "one-to-one" if rel.cardinality == "one-to-one" else "one-to-many"
    )
    return Relationship(
        rel.foreign_schema,
        rel.foreign_table,
        rel.schema,
        rel.table,
        cardinality,
        rel.constraint,
        _swap(rel.columns),
    )


def _many_to_many(direct: Sequence[Relationship], tables: Mapping[tuple[str, str], Table]) -> list[Relationship]:
    """A table whose primary key holds two foreign keys links the two tables they point at."""
    found = []
    for one in direct:
        for other in direct:
            same = (one.schema, one.table) == (other.schema, other.table) and one.constraint != other.constraint
            if not same or one.cardinality != "many-to-one" or other.cardinality != "many-to-one":
                continue
            junction = tables.get((one.schema, one.table))
            used = {here for here, _ in (*one.columns, *other.columns)}
            if junction is None or not used.issubset(junction.primary_key):
                continue
            found.append(
                Relationship(
                    one.foreign_schema,
                    one.foreign_table,
                    other.foreign_schema,
                    other.foreign_table,
                    "many-to-many",
                    "",
                    (),
                    Junction(
                        one.schema,
                        one.table,
                        one.constraint,
                        other.constraint,
                        _swap(one.columns),
                        _swap(other.columns),
                    ),
                )
            )
    return found


def _sort_key(rel: Relationship) -> tuple[object, ...]:
    """The order in which PostgREST lists the candidates of an ambiguous embedding."""
    rank = ["one-to-many", "many-to-one", "one-to-one", "many-to-many"].index(rel.cardinality)
    junction = rel.junction
    inner = (junction.table, junction.constraint_1, junction.constraint_2) if junction else (rel.constraint,)
    return (rel.foreign_schema, rel.foreign_table, rel.is_self, rank, *inner)


def _relationships(
    rows: Sequence[Row], tables: Mapping[tuple[str, str], Table]
) -> dict[tuple[str, str], list[Relationship]]:
    direct = [_direct(row) for row in rows]
    every = [*direct, *_many_to_many(direct, tables), *(_inverse(rel) for rel in direct)]
    by_table: dict[tuple[str, str], list[Relationship]] = {}
    for rel in every:
        exposed = (rel.schema, rel.table) in tables and (rel.foreign_schema, rel.foreign_table) in tables
        if exposed:
            by_table.setdefault((rel.schema, rel.table), []).append(rel)
    return {name: sorted(rels, key=_sort_key) for name, rels in by_table.items()}


def _role_settings(rows: Sequence[Row], settable: set[str]) -> dict[str, RoleSettings]:
    roles = {}
    for name, config in rows:
        pairs = [(key, value.lower()) for key, value in _split(config)]
        roles[name] = RoleSettings(
            tuple(pair for pair in pairs if pair[0] != _ISOLATION and pair[0] in settable),
            next((value for key, value in pairs if key == _ISOLATION), None),
        )
    return roles


def load_catalog(connection: Connection[Row], schemas: Sequence[str]) -> Catalog:
    """Read the catalogue of the exposed schemas. Raises `psycopg.Error`."""
    with connection.transaction():
        # Without a search path every type and default is written with its schema.
        connection.execute("select set_config('search_path', '', true)")
        exposed = [list(schemas)]
        columns: dict[tuple[str, str], dict[str, Column]] = {}
        for schema, table, name, type_name, default in connection.execute(catalog_queries.COLUMNS, exposed):
            columns.setdefault((schema, table), {})[name] = Column(name, type_name, default)
        tables = {
            (schema, name): Table(schema, name, is_view, tuple(key), columns.get((schema, name), {}))
            for schema, name, is_view, key in connection.execute(catalog_queries.TABLES, exposed)
        }
        functions: dict[tuple[str, str], list[Function]] = {}
        for row in connection.execute(catalog_queries.FUNCTIONS, exposed):
            if (function := _function(row)) is not None:
                functions.setdefault((function.schema, function.name), []).append(function)
        settable = {name for (name,) in connection.execute(catalog_queries.SETTABLE)}
        return Catalog(
            tables=tables,
            relationships=_relationships(connection.execute(catalog_queries.FOREIGN_KEYS).fetchall(), tables),
            functions=functions,
            computed_relationships=frozenset(
                (schema, table, name)
                for schema, table, name in connection.execute(catalog_queries.COMPUTED_RELATIONSHIPS)
            ),
            transformed_types=frozenset(name for (name,) in connection.execute(catalog_queries.TRANSFORMED_TYPES)),
            roles=_role_settings(connection.execute(catalog_queries.ROLES).fetchall(), settable),
            timezones=frozenset(name for (name,) in connection.execute("select name from pg_timezone_names")),
        )
