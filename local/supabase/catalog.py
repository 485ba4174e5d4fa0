"""What the database offers through the API: tables, foreign keys, functions, the roles' own settings.

PostgREST calls it the schema cache. It is read in one go over a connection of the API's login role and kept until
`notify pgrst, 'reload schema'` (or a look-up that misses, see `local.supabase.database`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
