"""Holds a request against the catalogue: which tables, relationships and columns it means.

Source: PostgREST 13 `src/PostgREST/Plan.hs`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from local.supabase.catalog import Catalog, Relationship, Table
from local.supabase.errors import ApiError, not_embedded, not_supported
from local.supabase.fuzzy import closest
from local.supabase.request import QueryString, Range
from local.supabase.syntax import (
    Condition,
    EmbedPath,
    Field,
    Filter,
    Logic,
    OrderTerm,
    SelectField,
    SelectItem,
    SelectRelation,
)


@dataclass(frozen=True, slots=True)
class NullEmbed:
    """A filter `embedded=is.null`: rows without (or, negated, with) an embedded row."""

    alias: str
    negated: bool


@dataclass(slots=True)
class Node:
    """One resource in the tree that `select` spans: the root, or an embedded one."""

    schema: str
    table: str
    name: str
    alias: str | None
    inner: bool
    depth: int
    hint: str | None = None
    select: list[SelectField] = field(default_factory=list)
    where: list[Condition | NullEmbed] = field(default_factory=list)
    order: list[OrderTerm] = field(default_factory=list)
    range: Range = field(default_factory=Range)
    children: "list[Node]" = field(default_factory=list)
    relationship: Relationship | None = None
    from_alias: str | None = None
    aggregate_alias: str = ""
    from_source: bool = False

    @property
    def label(self) -> str:
        """The key under which an embedded resource appears in the body."""
        return self.alias or self.name

    @property
    def qualifier(self) -> tuple[str, str]:
        """Schema (perhaps empty) and name that qualify its columns."""
        return ("", self.from_alias) if self.from_alias is not None else (self.schema, self.table)

    @property
    def shows_nothing(self) -> bool:
        """Whether it is embedded for its filter only, as in `select=id,orders()`."""
        return not self.select and all(child.shows_nothing for child in self.children)

    def walk(self) -> "Iterator[Node]":
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def find_table(catalog: Catalog, schema: str, name: str) -> Table:
    """Return the table. Raises `ApiError` PGRST205 when there is none."""
    table = catalog.tables.get((schema, name))
    if table is not None:
        return table
    near = closest(name, [n for s, n in catalog.tables if s == schema])
    hint = f"Perhaps you meant the table '{schema}.{near}'" if near else None
    raise ApiError(404, "PGRST205", f"Could not find the table '{schema}.{name}' in the schema cache", hint=hint)


def _grow(node: Node, items: tuple[SelectItem, ...]) -> None:
    for item in items:
        if isinstance(item, SelectRelation):
            if item.spread:
                raise not_supported("spread embedding (...)")
            child = Node(node.schema, item.name, item.name, item.alias, item.inner, node.depth + 1, hint=item.hint)
            _grow(child, item.items)
            node.children.append(child)
        else:
            node.select.append(item)


def _descend(node: Node, path: EmbedPath) -> Node:
    """Return the embedded node that the path names. Raises `ApiError` PGRST108."""
    for step in path:
        child = next((c for c in node.children if step in (c.name, c.alias)), None)
        if child is None:
            raise not_embedded(step)
        node = child
    return node


def _has_single_column(columns: tuple[tuple[str, str], ...], name: str, end: int) -> bool:
    return len(columns) == 1 and columns[0][end] == name


def _matches(rel: Relationship, target: str, hint: str | None) -> bool:
    """Say whether `target!hint` means this relationship."""
    is_key = rel.cardinality != "many-to-many"
    names_table = target == rel.foreign_table
    if rel.is_self:
        if hint is None:
            by_table = names_table and rel.cardinality == "one-to-many"
            by_column = rel.cardinality == "many-to-one" and _has_single_column(rel.columns, target, 0)
            return by_table or by_column
        return names_table and rel.cardinality == "one-to-many" and _has_single_column(rel.columns, hint, 1)
    if hint is None:
        by_constraint = is_key and target == rel.constraint
        return names_table or by_constraint or (is_key and _has_single_column(rel.columns, target, 0))
    if not names_table:
        return False
    if rel.junction is not None:
        return hint == rel.junction.table
    return (
        hint == rel.constraint or _has_single_column(rel.columns, hint, 0) or _has_single_column(rel.columns, hint, 1)
    )


def _columns(columns: tuple[tuple[str, str], ...], end: int) -> str:
    return "(" + ", ".join(pair[end] for pair in columns) + ")"


def _describe(rel: Relationship) -> dict[str, str]:
    junction = rel.junction
    if junction is not None:
        text = (
            f"{junction.table} using {junction.constraint_1}{_columns(junction.source_columns, 1)}"
            f" and {junction.constraint_2}{_columns(junction.target_columns, 1)}"
        )
    else:
        text = (
            f"{rel.constraint} using {rel.table}{_columns(rel.columns, 0)}"
            f" and {rel.foreign_table}{_columns(rel.columns, 1)}"
        )
    return {
        "cardinality": rel.cardinality,
        "embedding": f"{rel.table} with {rel.foreign_table}",
        "relationship": text,
    }


def _ambiguous(origin: str, target: str, found: list[Relationship]) -> ApiError:
    choices = ", ".join(
        f"'{rel.foreign_table}!{rel.junction.table if rel.junction else rel.constraint}'" for rel in found
    )
    return ApiError(
        300,
        "PGRST201",
        f"Could not embed because more than one relationship was found for '{origin}' and '{target}'",
        details=[_describe(rel) for rel in found],
        hint=f"Try changing '{target}' to one of the following: {choices}. "
        "Find the desired relationship in the 'details' key.",
    )


def _no_relationship(catalog: Catalog, schema: str, origin: str, target: str, hint: str | None) -> ApiError:
    known = catalog.relationships.get((schema, origin))
    near: str | None
    if known is not None:
        near = closest(target, [rel.foreign_table for rel in known], exact=False)
        wrong = target
    else:
        near = closest(origin, [table for s, table in catalog.relationships if s == schema])
        wrong = origin
    searched = f"'{origin}' and '{target}" + (f"' using the hint '{hint}" if hint else "")
    return ApiError(
        400,
        "PGRST200",
        f"Could not find a relationship between '{origin}' and '{target}' in the schema cache",
        details=f"Searched for a foreign key relationship between {searched}' in the schema '{schema}', "
        "but no matches were found.",
        hint=f"Perhaps you meant '{near}' instead of '{wrong}'." if near else None,
    )


def _find_relationship(catalog: Catalog, schema: str, origin: str, child: Node) -> Relationship:
    target, hint = child.name, child.hint
    involved = [catalog.tables.get((schema, name)) for name in (origin, target)]
    if any(table is not None and table.is_view for table in involved):
        raise not_supported("embedding from or into views")
    if (schema, origin, target) in catalog.computed_relationships:
        raise not_supported("computed relationships")
    known = catalog.relationships.get((schema, origin), [])
    found = [rel for rel in known if _matches(rel, target, hint)]
    if not found:
        raise _no_relationship(catalog, schema, origin, target, hint)
    if len(found) > 1:
        raise _ambiguous(origin, target, found)
    return found[0]


def _relate(catalog: Catalog, node: Node) -> None:
    """Find the relationship of every embedded node, parents first."""
    for child in node.children:
        # A mutation or call reads from its own result, known under the table's name.
        origin = node.from_alias if node.depth == 0 and node.from_alias else node.table
        rel = _find_relationship(catalog, node.schema, origin, child)
        child.relationship = rel
        child.schema, child.table = rel.foreign_schema, rel.foreign_table
        child.aggregate_alias = f"{rel.table}_{child.label}_{child.depth}"
        if rel.junction is None:
            child.from_alias = f"{rel.foreign_table}_{child.depth}"
        _relate(catalog, child)


def _null_embeds(node: Node, condition: Condition | NullEmbed) -> Condition | NullEmbed:
    if not isinstance(condition, Filter) or condition.field.path:
        if isinstance(condition, Logic) and any(
            isinstance(_null_embeds(node, inner), NullEmbed) for inner in condition.conditions
        ):
            raise not_supported("filtering for missing embedded rows inside and/or")
        return condition
    child = next((c for c in node.children if c.label == condition.field.name), None)
    operation = condition.operation
    if child is None or operation.operator != "is" or operation.values != ("null",):
        return condition
    return NullEmbed(child.aggregate_alias, operation.negated)


def _related_order(node: Node, term: OrderTerm) -> OrderTerm:
    """Let `order=embedded(column)` point at the embedded row. Raises `ApiError` (PGRST108, PGRST118)."""
    if term.relation is None:
        return term
    child = next((c for c in node.children if c.label == term.relation), None)
    if child is None or child.relationship is None:
        raise not_embedded(term.relation)
    if not child.relationship.to_one:
        raise ApiError(
            400,
            "PGRST118",
            f"A related order on '{child.label}' is not possible",
            details=f"'{node.table}' and '{child.label}' do not form a many-to-one or one-to-one relationship",
        )
    return OrderTerm(term.field, term.direction, term.nulls, relation=child.aggregate_alias)


def _refuse_transformed(catalog: Catalog, node: Node) -> None:
    if not catalog.transformed_types:
        return
    table = catalog.tables.get((node.schema, node.table))
    if table is not None and any(c.type_name in catalog.transformed_types for c in table.columns.values()):
        raise not_supported("data representations (domains with implicit casts)")


def plan_tree(
    catalog: Catalog,
    *,
    schema: str,
    table: str,
    query: QueryString,
    from_source: bool,
    filter_root: bool,
    max_rows: int | None,
) -> Node:
    """Build the tree that the body is read from.

    `from_source`: the root's rows are those that the statement itself returned. `filter_root`: filters on the root
    apply here (in an update or delete they choose the rows to change instead). Raises `ApiError`.
    """
    root = Node(schema, table, table, None, inner=False, depth=0)
    _grow(root, query.select)
    if from_source:
        root.from_source, root.from_alias = True, table
    for path, condition in query.filters:
        if path or filter_root:
            _descend(root, path).where.append(condition)
    for path, terms in query.order:
        _descend(root, path).order = list(terms)
    ranges = {(): query.top_range, **query.ranges} if max_rows is not None else {}
    for path, range_ in ranges.items():
        _descend(root, path).range = range_
    for path, logic in query.logic:
        _descend(root, path).where.append(logic)
    _relate(catalog, root)
    for node in root.walk():
        _refuse_transformed(catalog, node)
        node.order = [_related_order(node, term) for term in node.order]
        node.where = [_null_embeds(node, condition) for condition in node.where]
        if max_rows is not None:
            node.range = node.range.at_most(max_rows)
    if any(item.aggregate is not None for node in root.walk() for item in node.select):
        raise ApiError(400, "PGRST123", "Use of aggregate functions is not allowed")
    return root


def output_alias(item: SelectField) -> str | None:
    """Return the key under which a selected column appears, where it is not its own name."""
    if item.alias is not None or not item.field.path:
        return item.alias
    keys = [step.operand for step in item.field.path if not step.is_index]
    return keys[-1] if keys else item.field.name


def needed_columns(root: Node, primary_key: tuple[str, ...]) -> list[str]:
    """Return the columns that a mutation or call has to hand on, for its body and for embedding."""
    names = {item.field.name for item in root.select}
    if "*" in names:
        return ["*"]
    for child in root.children:
        rel = child.relationship
        if rel is not None:
            pairs = rel.junction.source_columns if rel.junction else rel.columns
            names.update(here for here, _ in pairs)
    return sorted(names | set(primary_key))


def filtered_columns(root: Node) -> list[str]:
    """Return the columns that conditions anywhere in the tree name."""

    def names(condition: Condition | NullEmbed) -> Iterator[str]:
        if isinstance(condition, NullEmbed):
            yield condition.alias
        elif isinstance(condition, Filter):
            yield condition.field.name
        else:
            for inner in condition.conditions:
                yield from names(inner)

    return [name for node in root.walk() for condition in node.where for name in names(condition)]


def known_field(catalog: Catalog, node: Node, wanted: Field) -> str | None:
    """Return the type of a node's column, if the catalogue has it."""
    table = catalog.tables.get((node.schema, node.table))
    column = table.columns.get(wanted.name) if table is not None else None
    return column.type_name if column is not None else None
