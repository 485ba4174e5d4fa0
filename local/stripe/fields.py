"""Small readers that several resources share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.errors import StripeFault, invalid_param

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.stripe.kinds import Json

# https://docs.stripe.com/api/metadata
_MAX_METADATA_KEYS, _MAX_METADATA_KEY, _MAX_METADATA_VALUE = 50, 40, 500


def merged_metadata(current: Json, given: Json | str | None) -> Json:
    """Metadata after an update: keys are merged, an empty value removes its key, an empty string removes all."""
    if given is None:
        return current
    if isinstance(given, str):
        return {}
    merged = {**current, **given}
    for key, value in merged.items():
        if len(key) > _MAX_METADATA_KEY:
            message = f"Metadata keys can have up to {_MAX_METADATA_KEY} characters in length. The key you passed in, "
            message += f"{key!r}, is {len(key)} characters long."
            raise invalid_param(message, "metadata")
        if len(value) > _MAX_METADATA_VALUE:
            message = f"Metadata values can have up to {_MAX_METADATA_VALUE} characters, but you passed in a value "
            message += f"that is {len(value)} characters."
            raise invalid_param(message, f"metadata[{key}]")
    merged = {key: value for key, value in merged.items() if value != ""}
    if len(merged) > _MAX_METADATA_KEYS:
        raise invalid_param(f"You can have at most {_MAX_METADATA_KEYS} metadata keys.", "metadata")
    return merged


def refuse_unsupported(params: Json, known: Iterable[str]) -> None:
    """501 for a parameter that Stripe has and this stand-in doesn't: it never guesses."""
    unknown = sorted(set(params) - set(known) - {"expand"})
    if unknown:
        raise StripeFault(
            f"The local Stripe stand-in does not implement the parameter {unknown[0]!r} of this call.",
            status=501,
            kind="api_error",
            param=unknown[0],
            remembered=False,
        )


def address(given: Json | str | None) -> Json | None:
    """An address with all of Stripe's six fields."""
    if not given or isinstance(given, str):
        return None
    return {name: given.get(name) for name in ("city", "country", "line1", "line2", "postal_code", "state")}


def shipping(given: Json | str | None) -> Json | None:
    """Shipping details with all of their fields."""
    if not given or isinstance(given, str):
        return None
    plain = {name: given.get(name) for name in ("carrier", "name", "phone", "tracking_number")}
    return {"address": address(given.get("address")), **plain}


def changes(before: Json, after: Json) -> Json:
    """``previous_attributes`` of an event: the old values of what changed."""
    return {key: value for key, value in before.items() if after.get(key) != value}
