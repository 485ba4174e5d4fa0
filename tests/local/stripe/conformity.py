"""Hold JSON against the SDK's own classes: every key a field, every required field there, every value of its type.

Types are read as the API means them: a ``Literal`` beside ``| str`` is only the Literal, an expandable field is an id
or the object.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import stripe
from stripe._object_classes import get_object_class
from stripe._stripe_object import StripeObject, UntypedStripeObject
from typing_extensions import get_type_hints


@cache
def _type_checking_names(module_name: str) -> dict[str, Any]:
    """What a module of the SDK imports for type checkers only, which its annotations name."""
    module = importlib.import_module(module_name)
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stripe"):
            source = importlib.import_module(node.module or "")
            for name in node.names:
                found[name.asname or name.name] = getattr(source, name.name)
    return found


@cache
def _fields(cls: type) -> dict[str, Any]:
    """The annotated fields of an API class, resolved."""
    names = {**_type_checking_names(cls.__module__), **dict(inspect.getmembers(cls, inspect.isclass))}
    hints = get_type_hints(cls, localns=names, include_extras=True)
    own = set()
    for base in cls.__mro__:
        if base is StripeObject:
            break
        own |= set(vars(base).get("__annotations__", {}))
    return {name: hints[name] for name in own if name != "OBJECT_NAME" and not name.startswith("_")}


def problems_of(value: dict[str, Any], where: str = "") -> list[str]:
    """What is wrong with an API object; its ``object`` says which class it must fit."""
    cls = get_object_class("V1", value["object"])
    return _object(value, cls, where or value["object"])


def _object(value: Any, cls: type, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no object"]
    if value.get("deleted"):
        return [] if set(value) == {"id", "object", "deleted"} else [f"{where}: deleted with more than its id"]
    fields = _fields(cls)
    found = [f"{where}.{name}: no field of {cls.__qualname__}" for name in value if name not in fields]
    for name, hint in fields.items():
        if name in value:
            found += _check(value[name], hint, f"{where}.{name}")
        elif NoneType not in get_args(hint):
            found.append(f"{where}.{name}: missing")
    return found


def _check(value: Any, hint: Any, where: str) -> list[str]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return _union(value, args, where)
    if origin is list and isinstance(value, list):
        return [text for index, item in enumerate(value) for text in _check(item, args[0], f"{where}[{index}]")]
    if inspect.isclass(origin) and issubclass(origin, stripe.ListObject):
        return [text for item in value["data"] for text in problems_of(item, where)]
    if inspect.isclass(hint) and issubclass(hint, StripeObject):
        return _object(value, hint, where)
    return [] if _plain(value, hint) else [f"{where}: {value!r} does not fit {hint}"]


def _plain(value: Any, hint: Any) -> bool:
    """Whether a value that isn't an API object fits its type."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in {UntypedStripeObject, dict}:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, int | float)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or (inspect.isclass(hint) and isinstance(value, hint))


def _union(value: Any, args: tuple[Any, ...], where: str) -> list[str]:
    if value is None:
        return [] if NoneType in args else [f"{where}: null is not allowed"]
    named = any(get_origin(arg) is Literal for arg in args)
    arms = [arg for arg in args if arg is not NoneType and not (named and arg is str)]
    outcomes = [_check(value, arm, where) for arm in arms]
    return [] if any(not each for each in outcomes) else min(outcomes, key=len)
