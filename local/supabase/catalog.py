"""What the database offers through the API: tables, foreign keys, functions, the roles' own settings.

PostgREST calls it the schema cache. It is read in one go over a connection of the API's login role and kept until
`notify pgrst, 'reload schema'` (or a look-up that misses, see `local.supabase.database`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg import Connection

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as `json_to_record` needs it, and its default as SQL."""

    name: str
    type_name: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view in an exposed schema."""

    schema: str
    name: str
    is_view: bool
    primary_key: tuple[str, ...]
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Junction:
    """The table between two others that makes them many-to-many."""

    schema: str
    table: str
    constraint_1: str
    constraint_2: str
    source_columns: tuple[tuple[str, str], ...]
    target_columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Relationship:
    """How one table leads to another; `columns` pairs a column here with one there."""

    schema: str
    table: str
    foreign_schema: str
    foreign_table: str
    cardinality: Literal["many-to-one", "one-to-many", "one-to-one", "many-to-many"]
    constraint: str
    columns: tuple[tuple[str, str], ...]
    junction: Junction | None = None

    @property
    def to_one(self) -> bool:
        """Whether at most one row is at the other end."""
        return self.cardinality in ("many-to-one", "one-to-one")

    @property
    def is_self(self) -> bool:
        """Whether it leads back to the same table."""
        return (self.schema, self.table) == (self.foreign_schema, self.foreign_table)


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of a function; unnamed ones have an empty name."""

    name: str
    type_name: str
    required: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A function in an exposed schema."""

    schema: str
    name: str
    parameters: tuple[Parameter, ...]
    returns_set: bool
    returns_composite: bool
    returns_void: bool
    return_type: str
    read_only: bool
    variadic: bool
    settings: tuple[tuple[str, str], ...]
    isolation: str | None

    @property
    def returns_scalar(self) -> bool:
        """Whether it returns one value that is no row."""
        return not self.returns_set and not self.returns_composite

    @property
    def alias(self) -> str:
        """The name under which the result's columns are known."""
        return self.return_type if self.returns_composite else self.name


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """What `alter role … set` gives a role: settings, and the isolation level for itself."""

    settings: tuple[tuple[str, str], ...] = ()
    isolation: str | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything, keyed by (schema, name)."""

    tables: Mapping[tuple[str, str], Table]
    relationships: Mapping[tuple[str, str], Sequence[Relationship]]
    functions: Mapping[tuple[str, str], Sequence[Function]]
    computed_relationships: frozenset[tuple[str, str, str]]
    transformed_types: frozenset[str]
    roles: Mapping[str, RoleSettings]
    timezones: frozenset[str] = field(default_factory=frozenset)


_TABLES = """
select
  n.nspname, c.relname, c.relkind in ('v', 'm', 'f'),
  coalesce((
    select array_agg(a.attname::text order by k.position)
    from pg_constraint con
    cross join unnest(con.conkey) with ordinality as k (attnum, position)
    join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.attnum
    where con.conrelid = c.oid and con.contype = 'p'
  ), '{}')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition and n.nspname = any(%s)
order by 1, 2
"""

# The type: a domain over a built-in type counts as that type, lengths of built-in types are left out, so that too long
# a value fails in the table (with its message) and not on the way.
_COLUMNS = """
with recursive base as (
  select oid as type_oid, oid as base_oid, typbasetype, typnamespace from pg_type
  union all
  select b.type_oid, t.oid, t.typbasetype, t.typnamespace
  from base b join pg_type t on t.oid = b.typbasetype where b.typbasetype <> 0
)
select
  n.nspname, c.relname, a.attname,
  case
    when t.typtype = 'd' and b.typnamespace = 'pg_catalog'::regnamespace then format_type(b.base_oid, null)
    when t.typtype <> 'd' and t.typnamespace = 'pg_catalog'::regnamespace then format_type(a.atttypid, null)
    else format_type(a.atttypid, a.atttypmod)
  end,
  case
    when t.typbasetype <> 0 and d.adbin is null then pg_get_expr(t.typdefaultbin, 0)
    when a.attidentity = 'd' then format('nextval(%%L)', pg_get_serial_sequence(c.oid::regclass::text, a.attname))
    when a.attgenerated <> '' then null
    else pg_get_expr(d.adbin, d.adrelid)
  end
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
join base b on b.type_oid = t.oid and b.typbasetype = 0
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where
  a.attnum > 0 and not a.attisdropped
  and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition and n.nspname = any(%s)
order by c.oid, a.attnum
"""

_FOREIGN_KEYS = """
select
  n.nspname, c.relname, fn.nspname, fc.relname, con.conname,
  cols.names, cols.foreign_names,
  exists (
    select from pg_constraint u
    where u.conrelid = con.conrelid and u.contype in ('p', 'u')
    and (select array_agg(k order by k) from unnest(u.conkey) k) = (select array_agg(k order by k) from unnest(con.conkey) k)
  )
from pg_constraint con
join pg_class c on c.oid = con.conrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_class fc on fc.oid = con.confrelid
join pg_namespace fn on fn.oid = fc.relnamespace
cross join lateral (
  select
    array_agg(a.attname::text order by k.position) as names,
    array_agg(fa.attname::text order by k.position) as foreign_names
  from unnest(con.conkey, con.confkey) with ordinality as k (attnum, foreign_attnum, position)
  join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.attnum
  join pg_attribute fa on fa.attrelid = con.confrelid and fa.attnum = k.foreign_attnum
) cols
where con.contype = 'f' and con.conparentid = 0
order by con.conrelid, con.conname
"""

_FUNCTIONS = """
with recursive base as (
  select oid as type_oid, oid as base_oid, typbasetype from pg_type
  union all
  select b.type_oid, t.oid, t.typbasetype from base b join pg_type t on t.oid = b.typbasetype where b.typbasetype <> 0
)
select
  n.nspname, p.proname,
  array(select format_type(x.type_oid, null) from unnest(p.proargtypes::oid[]) with ordinality as x (type_oid, position)
        order by x.position),
  p.proargnames, p.proargmodes::text[], p.pronargdefaults, p.proretset,
  t.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
  coalesce(c.relname, t.typname), tn.nspname, t.typname,
  p.provolatile, p.provariadic <> 0, coalesce(p.proconfig, '{}'), p.pronargs
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join base b on b.type_oid = p.prorettype and b.typbasetype = 0
join pg_type t on t.oid = b.base_oid
join pg_namespace tn on tn.oid = t.typnamespace
left join pg_class c on c.oid = t.typrelid
where p.prokind = 'f' and t.oid <> 'trigger'::regtype and n.nspname = any(%s)
order by n.nspname, p.proname, p.pronargs, p.oid
"""

# Functions that take one row of a table and return rows of another: PostgREST embeds them like foreign keys.
_COMPUTED_RELATIONSHIPS = """
select an.nspname, a.typname, p.proname
from pg_proc p
join pg_type a on a.oid = p.proargtypes[0]
join pg_namespace an on an.oid = a.typnamespace
join pg_class ac on ac.oid = a.typrelid
join pg_type r on r.oid = p.prorettype
join pg_class rc on rc.oid = r.typrelid
where p.pronargs = 1 and ac.relkind in ('r', 'v', 'm', 'f', 'p') and rc.relkind in ('r', 'v', 'm', 'f', 'p')
"""

# Domains with an implicit cast to or from json or text: PostgREST converts them on the way ("data representations").
_TRANSFORMED_TYPES = """
select format_type(case when s.typtype = 'd' then s.oid else t.oid end, null)
from pg_cast c
join pg_type s on s.oid = c.castsource
join pg_type t on t.oid = c.casttarget
where c.castcontext = 'i' and c.castmethod = 'f' and (s.typtype = 'd' or t.typtype = 'd')
"""

_ROLES = """
select r.rolname, r.rolconfig
from pg_auth_members m
join pg_roles r on r.oid = m.roleid
where m.member = current_user::regrole and r.rolconfig is not null
"""

# Settings that a role may give itself; others need a right that the API's login role has not.
_SETTABLE = """
select name from pg_settings
where context = 'user' or has_parameter_privilege(current_user::regrole::oid, name, 'set')
"""

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
        for schema, table, name, type_name, default in connection.execute(_COLUMNS, exposed):
            columns.setdefault((schema, table), {})[name] = Column(name, type_name, default)
        tables = {
            (schema, name): Table(schema, name, is_view, tuple(key), columns.get((schema, name), {}))
            for schema, name, is_view, key in connection.execute(_TABLES, exposed)
        }
        functions: dict[tuple[str, str], list[Function]] = {}
        for row in connection.execute(_FUNCTIONS, exposed):
            if (function := _function(row)) is not None:
                functions.setdefault((function.schema, function.name), []).append(function)
        settable = {name for (name,) in connection.execute(_SETTABLE)}
        return Catalog(
            tables=tables,
            relationships=_relationships(connection.execute(_FOREIGN_KEYS).fetchall(), tables),
            functions=functions,
            computed_relationships=frozenset(
                (schema, table, name) for schema, table, name in connection.execute(_COMPUTED_RELATIONSHIPS)
            ),
            transformed_types=frozenset(name for (name,) in connection.execute(_TRANSFORMED_TYPES)),
            roles=_role_settings(connection.execute(_ROLES).fetchall(), settable),
            timezones=frozenset(name for (name,) in connection.execute("select name from pg_timezone_names")),
        )
