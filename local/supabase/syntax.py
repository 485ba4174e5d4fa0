"""What a query string says, as data: columns, embedded resources, filters, order."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class JsonStep:
    """One `->` or `->>` into a JSON value; `operand` is a key or, signed, an index."""

    arrow: Literal["->", "->>"]
    operand: str
    is_index: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A column and perhaps a path into its JSON."""

    name: str
    path: tuple[JsonStep, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectField:
    """A column in `select`: `alias:name->path::cast`."""

    field: Field
    alias: str | None = None
    cast: str | None = None
    aggregate: str | None = None


@dataclass(frozen=True, slots=True)
class SelectRelation:
    """An embedded resource in `select`: `alias:name!hint!inner(…)`, or spread: `...name(…)`."""

    name: str
    alias: str | None
    hint: str | None
    inner: bool
    spread: bool
    items: "tuple[SelectItem, ...]"


SelectItem = SelectField | SelectRelation


@dataclass(frozen=True, slots=True)
class Operation:
    """What a filter compares with; `values` has one entry, except for `in`."""

    operator: str
    values: tuple[str, ...]
    negated: bool = False
    quantifier: Literal["any", "all"] | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one field."""

    field: Field
    operation: Operation


@dataclass(frozen=True, slots=True)
class Logic:
    """Conditions joined by `and` or `or`, perhaps negated."""

    operator: Literal["and", "or"]
    negated: bool
    conditions: "tuple[Condition, ...]"


Condition = Filter | Logic


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One term of `order`; with `relation` the field belongs to an embedded to-one resource."""

    field: Field
    direction: Literal["asc", "desc"] | None = None
    nulls: Literal["first", "last"] | None = None
    relation: str | None = None


EmbedPath = tuple[str, ...]
