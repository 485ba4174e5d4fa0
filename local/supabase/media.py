"""Content negotiation: which body the caller wants.

Source: PostgREST 13 `src/PostgREST/MediaType.hs` and `negotiateContent` in `src/PostgREST/Plan.hs`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from local.supabase.errors import not_supported, unacceptable_media_type

Shape = Literal["array", "object", "csv"]


@dataclass(frozen=True, slots=True)
class Media:
    """The shape of a body and the Content-Type it is sent with."""

    shape: Shape
    content_type: str
    strip_nulls: bool = False


_JSON = Media("array", "application/json; charset=utf-8")
_CSV = Media("csv", "text/csv; charset=utf-8")
_OBJECT = Media("object", "application/vnd.pgrst.object+json; charset=utf-8")
_OBJECT_STRIPPED = Media("object", "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8", True)
_ARRAY_STRIPPED = Media("array", "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8", True)

_TYPE = re.compile(r"\s*([A-Za-z0-9.*]+/[A-Za-z0-9.*+-]+)(.*)", re.DOTALL)
_PARAMETER = re.compile(r'\s*;\s*([A-Za-z0-9-]+)\s*=\s*("[^"]*"|[A-Za-z0-9|.-]+)')


def _split(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Read an Accept header: media types with their parameters, the most wanted first."""
    found: list[tuple[float, int, str, dict[str, str]]] = []
    for position, part in enumerate(accept.split(",")):
        match = _TYPE.match(part)
        if match is None:
            found.append((0.0, position, part.strip(), {}))
            continue
        parameters = {name.lower(): value.strip('"') for name, value in _PARAMETER.findall(match[2])}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        found.append((-quality, position, match[1], parameters))
    return [(name, parameters) for _, _, name, parameters in sorted(found, key=lambda item: item[:2])]


def _media(name: str, parameters: dict[str, str]) -> Media | None:
    stripped = parameters.get("nulls") == "stripped"
    match name.lower():
        case "application/json" | "*/*":
            return _JSON
        case "text/csv":
            return _CSV
        case "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object":
            return _OBJECT_STRIPPED if stripped else _OBJECT
        case "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array":
            return _ARRAY_STRIPPED if stripped else _JSON
        case "application/geo+json":
            raise not_supported("GeoJSON")
    return None


@lru_cache(maxsize=256)
def negotiate(accept: str | None) -> Media:
    """Return the first acceptable media type; raises `ApiError` PGRST107 when there is none."""
    if accept is None:
        return _JSON
    wanted = _split(accept)
    for name, parameters in wanted:
        if (media := _media(name, parameters)) is not None:
            return media
    # Query plans are switched off on hosted projects, and are named in full.
    if any(name.lower().startswith("application/vnd.pgrst.plan") for name, _ in wanted):
        raise not_supported("execution plans")
    raise unacceptable_media_type([name for name, _ in wanted])


def content_kind(content_type: str | None) -> str:
    """Return the media type of a request's body, in lower case; JSON when it is not said."""
    if content_type is None:
        return "application/json"
    return content_type.partition(";")[0].strip().lower()
