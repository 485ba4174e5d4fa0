"""Objects by kind, and how Stripe lists them (https://docs.stripe.com/api/pagination)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.errors import invalid_param, missing_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.stripe.kinds import Json


class Table:
    """All objects of one kind in creation order.

    ``label`` is how "No such …" names the kind and ``path_param`` what Stripe calls its id in an error.
    """

    def __init__(self, label: str, prefix: str, path_param: str = "id") -> None:
        self.label = label
        self.prefix = prefix
        self._path_param = path_param
        self._rows: dict[str, Json] = {}

    def __iter__(self) -> Iterator[Json]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Json) -> Json:
        """Keep an object under its id."""
        assert row["id"] not in self._rows, f"{row['id']} was made twice"
        self._rows[row["id"]] = row
        return row

    def find(self, object_id: str | None) -> Json | None:
        """The object, or None."""
        return self._rows.get(object_id) if object_id is not None else None

    def at_path(self, object_id: str) -> Json:
        """The object named by a URL; 404 ``resource_missing`` without it."""
        row = self._rows.get(object_id)
        if row is None:
            raise missing_resource(self.label, object_id, self._path_param, in_path=True)
        return row

    def in_param(self, object_id: str, param: str) -> Json:
        """The object named by a parameter; 400 ``resource_missing`` without it."""
        row = self._rows.get(object_id)
        if row is None:
            raise missing_resource(self.label, object_id, param, in_path=False)
        return row

    def delete(self, object_id: str) -> None:
        """Forget an object."""
        del self._rows[object_id]

    def page(self, params: Json, url: str, keep: Callable[[Json], bool] = lambda _: True) -> Json:
        """A list object, newest first, for ``limit``, ``starting_after``, ``ending_before`` and ``created``."""
        created = params.get("created")
        rows = [row for row in reversed(self._rows.values()) if created_within(row, created) and keep(row)]
        return page_of(rows, params, url)


def created_within(row: Json, wanted: Json | int | None) -> bool:
    """Whether an object fits a ``created`` filter: a timestamp, or any of gt, gte, lt, lte."""
    if wanted is None:
        return True
    created: int = row["created"]
    if isinstance(wanted, int):
        return created == wanted
    return bool(
        created > wanted.get("gt", created - 1)
        and created >= wanted.get("gte", created)
        and created < wanted.get("lt", created + 1)
        and created <= wanted.get("lte", created)
    )


def page_of(rows: list[Json], params: Json, url: str) -> Json:
    """Cut one page out of rows that are already newest first."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid_param(
            f"This value must be {'greater than or equal to 1' if limit < 1 else 'less than or equal to 100'}.",
            "limit",
            "parameter_invalid_integer",
        )
    after, before = params.get("starting_after"), params.get("ending_before")
    if after is not None and before is not None:
        raise invalid_param("You can only provide one of these: starting_after, ending_before.", "starting_after")
    if after is not None:
        rest = rows[_position(rows, after, "starting_after") + 1 :]
        data, more = rest[:limit], len(rest) > limit
    elif before is not None:
        rest = rows[: _position(rows, before, "ending_before")]
        data, more = rest[-limit:], len(rest) > limit
    else:
        data, more = rows[:limit], len(rows) > limit
    return {"object": "list", "url": url, "has_more": more, "data": data}


def _position(rows: list[Json], object_id: str, param: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == object_id:
            return index
    raise missing_resource("object", object_id, param, in_path=False)
