"""Requests held to the SDK's own typed parameters.

``stripe.params`` has a TypedDict for every call of the API version that the SDK speaks. Each is rebuilt once into a
pydantic ``TypeAdapter`` with three changes: unknown keys are refused (Stripe answers ``parameter_unknown``), the
``| str`` arm beside a ``Literal`` is dropped (the SDK has it for forward compatibility, the API has not), and values
are read from form text. Errors come out in Stripe's shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from local.stripe.errors import StripeFault, invalid_param, missing_param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from local.stripe.kinds import Json

_WRAPPERS: set[Any] = {NotRequired, Required}
_CLIENT_OPTIONS = frozenset(RequestOptions.__annotations__)


def _read_int(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("parameter_invalid_integer", "Invalid integer: {given}", {"given": str(value)})


def _read_bool(value: object) -> object:
    if isinstance(value, bool):
        return value
    if value in {"true", "1"}:
        return True
    if value in {"false", "0"}:
        return False
    raise PydanticCustomError("parameter_invalid_boolean", "Invalid boolean: {given}", {"given": str(value)})


_Int = Annotated[int, BeforeValidator(_read_int)]
_Bool = Annotated[bool, BeforeValidator(_read_bool)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=5000, strict=True)]


def _rebuild(hint: Any) -> Any:  # noqa: PLR0911 - one return per kind of type reads best
    if is_typeddict(hint):
        return _rebuild_typed_dict(hint)
    if hint is int:
        return _Int
    if hint is bool:
        return _Bool
    if hint is str:
        return _Text
    origin, args = get_origin(hint), get_args(hint)
    if origin is list:
        return list[_rebuild(args[0])]  # type: ignore[misc] # built at run time
    if origin is dict or origin is UntypedStripeObject:
        return dict[str, str]
    if origin in {Union, UnionType}:
        return _rebuild_union(args)
    return hint


def _rebuild_union(args: tuple[Any, ...]) -> Any:
    named = [arg for arg in args if get_origin(arg) is Literal and set(get_args(arg)) - {""}]
    kept = [arg for arg in args if arg is not NoneType and not (named and arg is str)]
    rebuilt = [_rebuild(arg) for arg in kept]
    return Union[tuple(dict.fromkeys(rebuilt))]  # noqa: UP007 - the members are only known at run time


@cache
def _rebuild_typed_dict(source: Any) -> Any:
    # Names that only the inherited client options use, which are left out below.
    client_names: dict[str, Any] = {"StripeContext": str, "Mapping": Mapping}
    hints = get_type_hints(source, localns=client_names, include_extras=True)
    required: frozenset[str] = source.__required_keys__
    fields: dict[str, Any] = {}
    for name, hint in hints.items():
        if name in _CLIENT_OPTIONS:
            continue
        inner = get_args(hint)[0] if get_origin(hint) in _WRAPPERS else hint
        built = _rebuild(inner)
        fields[name] = Required[built] if name in required else NotRequired[built]
    make: Any = TypedDict  # the functional form with names known at run time, which type checkers can't follow
    rebuilt = make(source.__name__, fields)
    rebuilt.__pydantic_config__ = ConfigDict(extra="forbid")
    return rebuilt


@cache
def adapter(source: Any) -> TypeAdapter[Any]:
    """The validator of one of ``stripe.params``' TypedDicts, built on first use and kept."""
    return TypeAdapter(_rebuild_typed_dict(source))


def validate(source: Any, given: Json) -> Json:
    """Read the parameters of a call; raises :class:`StripeFault` with Stripe's code, message and ``param``."""
    try:
        return dict(adapter(source).validate_python(given))
    except ValidationError as problem:
        raise _as_stripe(problem.errors(include_url=False), given) from None


def _as_stripe(problems: Sequence[ErrorDetails], given: Json) -> StripeFault:
    located = [(_path(problem, given), problem) for problem in problems]
    unknown = [path for path, problem in located if problem["type"] == "extra_forbidden"]
    # A union reports every arm: the arm that reads deepest into the value is the one that was meant.
    unknown = [path for path in unknown if not _understood(path, located)]
    if unknown:
        names = list(dict.fromkeys(_bracketed(path) for path in unknown))
        plural = "s" if len(names) > 1 else ""
        return invalid_param(f"Received unknown parameter{plural}: {', '.join(names)}", names[0], "parameter_unknown")
    path, problem = max(located, key=lambda pair: (len(pair[0]), pair[1]["type"] == "literal_error"))
    return _single(_bracketed(path), problem, [p for where, p in located if where == path])


def _understood(path: tuple[str, ...], located: Sequence[tuple[tuple[str, ...], ErrorDetails]]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other, _ in located)


def _single(param: str, problem: ErrorDetails, same_place: Sequence[ErrorDetails]) -> StripeFault:
    by_kind = {each["type"]: each["msg"] for each in same_place}
    allowed = [value for each in same_place for value in _choices(each)]
    if problem["type"] == "missing":
        return missing_param(param)
    if problem["input"] == "":
        return invalid_param(
            f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a field; "
            f"however '{param}' cannot be unset. You should remove '{param}' from your request or supply a "
            "non-empty value.",
            param,
            "parameter_invalid_empty",
        )
    if allowed:
        return invalid_param(f"Invalid {param}: must be one of {_spoken(allowed)}", param)
    for kind, code in (("parameter_invalid_integer", "parameter_invalid_integer"), ("parameter_invalid_boolean", None)):
        if kind in by_kind:
            return invalid_param(by_kind[kind], param, code)
    shapes = {"list_type": "array", "dict_type": "object", "string_type": "string"}
    for kind, shape in shapes.items():
        if kind in by_kind:
            return invalid_param(f"Invalid {shape}", param)
    return invalid_param(f"Invalid value for {param}: {problem['msg']}", param)


def _choices(problem: ErrorDetails) -> list[str]:
    if problem["type"] != "literal_error":
        return []
    return [choice for choice in re.findall(r"'([^']*)'", str(problem.get("ctx", {}).get("expected", ""))) if choice]


def _spoken(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    if len(words) < 3:
        return " or ".join(words)
    return ", ".join(words[:-1]) + ", or " + words[-1]


def _path(problem: ErrorDetails, given: Any) -> tuple[str, ...]:
    """The location within what was sent: pydantic's also names the arms of unions, which aren't there."""
    steps: list[str] = []
    node = given
    for part in problem["loc"]:
        inside_dict = isinstance(node, dict) and part in node
        inside_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if inside_dict or inside_list:
            node = node[part]
            steps.append(str(part))
        elif problem["type"] == "missing" and part == problem["loc"][-1]:
            steps.append(str(part))
    return tuple(steps)


def _bracketed(path: tuple[str, ...]) -> str:
    return path[0] + "".join(f"[{part}]" for part in path[1:]) if path else ""
