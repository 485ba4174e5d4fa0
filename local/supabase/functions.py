"""Finds the function that a call means, by its name and the names of its arguments.

Source: PostgREST 13 `findProc` in `src/PostgREST/Plan.hs`, `NoRpc` in `src/PostgREST/Error.hs`.
"""

from collections.abc import Sequence

from local.supabase.catalog import Catalog, Function
from local.supabase.errors import ApiError
from local.supabase.fuzzy import closest
from local.supabase.request import Request

_UNNAMED_TYPES = {
    "application/json": ("json", "jsonb"),
    "text/plain": ("text",),
    "text/xml": ("xml",),
    "application/octet-stream": ("bytea",),
}
_RAW_KINDS = ("text/plain", "text/xml", "application/octet-stream")


def _takes(function: Function, keys: frozenset[str], request: Request) -> bool:
    if not function.parameters:
        return not keys and not (request.action == "call" and request.body_kind in _RAW_KINDS)
    required = {p.name for p in function.parameters if p.required}
    optional = {p.name for p in function.parameters if not p.required}
    return keys - optional == required if required else keys <= optional


def _takes_whole_body(function: Function, request: Request) -> bool:
    if request.action != "call" or len(function.parameters) != 1:
        return False
    return function.parameters[0].type_name in _UNNAMED_TYPES.get(request.body_kind, ())


def _ambiguous(functions: Sequence[Function]) -> ApiError:
    described = ", ".join(
        f"{f.schema}.{f.name}({', '.join(f'{p.name} => {p.type_name}' for p in f.parameters)})" for f in functions
    )
    return ApiError(
        300,
        "PGRST203",
        f"Could not choose the best candidate function between: {described}",
        hint="Try renaming the parameters or the function itself in the database so function overloading can "
        "be resolved",
    )


def _hint(catalog: Catalog, schema: str, name: str, keys: Sequence[str], known: Sequence[Function]) -> str | None:
    if known:
        signatures = ["(" + ", ".join(sorted(p.name for p in f.parameters)) + ")" for f in known]
        near = closest("(" + ", ".join(sorted(keys)) + ")", signatures)
        near = f"{name}{near}" if near is not None else None
    else:
        near = closest(name, [n for s, n in catalog.functions if s == schema])
    return f"Perhaps you meant to call the function {schema}.{near}" if near is not None else None


def _missing(catalog: Catalog, request: Request, keys: Sequence[str], known: Sequence[Function]) -> ApiError:
    schema, name = request.schema, request.resource
    function = f"{schema}.{name}"
    listed = ", ".join(keys)
    posted = request.action == "call"
    raw = posted and request.body_kind in _RAW_KINDS
    with_names = f" with parameter{'s' if len(keys) > 1 else ''} {listed}" if keys else " without parameters"
    if raw:
        searched = f" with a single unnamed {_UNNAMED_TYPES[request.body_kind][0]} parameter"
        called = ""
    else:
        searched = with_names
        called = f"({listed})" if keys else " without parameters"
        if posted and request.body_kind == "application/json":
            searched += " or with a single unnamed json/jsonb parameter"
    return ApiError(
        404,
        "PGRST202",
        f"Could not find the function {function}{called} in the schema cache",
        details=f"Searched for the function {function}{searched}, but no matches were found in the schema cache.",
        hint=None if raw else _hint(catalog, schema, name, keys, known),
    )


def find_function(catalog: Catalog, request: Request, keys: frozenset[str]) -> Function:
    """Return the function. Raises `ApiError` PGRST202 when none fits, PGRST203 when several do."""
    known = catalog.functions.get((request.schema, request.resource), ())
    named = [f for f in known if _takes(f, keys, request)]
    whole = [f for f in known if f not in named and _takes_whole_body(f, request)]
    found = named or whole
    if not found:
        raise _missing(catalog, request, sorted(keys), known)
    if len(found) > 1:
        raise _ambiguous(found)
    return found[0]
