"""``expand``: ids in an answer replaced by what they name (https://docs.stripe.com/api/expanding_objects)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.stripe.errors import invalid_param

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

MAX_DEPTH = 4


def expanded(world: StripeWorld, answer: Json, paths: list[str]) -> Json:
    """A copy of an answer with every path expanded; 400 for a path that can't be."""
    if not paths:
        return answer
    copy: Json = json.loads(json.dumps(answer))
    for path in paths:
        parts = path.split(".")
        if len(parts) - (parts[0] == "data") > MAX_DEPTH:
            raise invalid_param(
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}", "expand"
            )
        _expand(world, copy, parts, path)
    return copy


def _expand(world: StripeWorld, node: Any, parts: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(world, item, parts, path)
        return
    if not parts or node is None:
        return
    head, rest = parts[0], parts[1:]
    if isinstance(node, dict) and node.get("object") == "charge" and head == "refunds":
        node.setdefault("refunds", refunds_of(world, node["id"]))
    if not isinstance(node, dict) or head not in node:
        raise invalid_param(f"This property cannot be expanded ({path}).", "expand")
    value = node[head]
    if isinstance(value, str):
        target = world.find(value)
        if target is None:
            raise invalid_param(f"This property cannot be expanded ({path}).", "expand")
        node[head] = value = json.loads(json.dumps(target))
    _expand(world, value, rest, path)


def refunds_of(world: StripeWorld, charge_id: str) -> Json:
    """The list object in ``charge.refunds``, which Stripe shows only when it is expanded."""
    rows = [row for row in reversed(list(world.refunds)) if row["charge"] == charge_id]
    url = f"/v1/charges/{charge_id}/refunds"
    return {"object": "list", "data": json.loads(json.dumps(rows)), "has_more": False, "url": url}
