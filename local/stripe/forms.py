"""Stripe's request encoding: forms with brackets, ``a[b][0]=c``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from local.stripe.kinds import Json

_PART = re.compile(r"\[([^\]]*)\]")
# Their keys are the caller's own, so "0" there is a name, not an index.
_FREE_MAPS = {"metadata"}


def parse_form(body: str) -> Json:
    """Decode a form or query string into nested dicts and lists; repeated ``a[]=`` and indexed ``a[0]=`` give lists.

    Values stay strings: what they mean is the business of :mod:`local.stripe.params`.
    """
    tree: Json = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        head, _, _ = name.partition("[")
        _put(tree, [head, *_PART.findall(name[len(head) :])], value)
    return {key: value if key in _FREE_MAPS else _as_lists(value) for key, value in tree.items()}


def _put(tree: Json, path: list[str], value: str) -> None:
    for part in path[:-1]:
        child = tree.setdefault(part or str(len(tree)), {})
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    last = path[-1]
    tree[last or str(len(tree))] = value


def _as_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key == str(index) for index, key in enumerate(value)):
        return [_as_lists(item) for item in value.values()]
    return {key: item if key in _FREE_MAPS else _as_lists(item) for key, item in value.items()}
