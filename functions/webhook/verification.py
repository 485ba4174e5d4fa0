"""From raw bytes to a verified Stripe event, and nothing else (https://docs.stripe.com/webhooks#verify-events)."""

import json
import re
import time
from collections.abc import Iterable

from pydantic import SecretStr, ValidationError

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_sdk import stripe

TOLERANCE_SECONDS = 300
"""Stripe's own, and ours to both sides: the SDK accepts timestamps from the future."""


class SignatureInvalid(Exception):
    """The bytes are not an event that Stripe signed just now. The message says why, nothing of the secret."""


def verified_event(
    raw_body: bytes, header: str | None, secrets: Iterable[SecretStr], now: float | None = None
) -> Event:
    """The event in the raw bytes, signed with any of the secrets within five minutes. Raises SignatureInvalid."""
    if not header or not header.isascii():  # the SDK's comparison raises for what is no ASCII
        raise SignatureInvalid("no signature")
    try:
        payload = raw_body.decode()
    except UnicodeDecodeError:
        raise SignatureInvalid("not text") from None
    stated = re.match(r"^t=(\d{1,12}),", header)
    if stated is None or abs((time.time() if now is None else now) - int(stated[1])) > TOLERANCE_SECONDS:
        raise SignatureInvalid("timestamp outside of the tolerance")
    if not any([_signed_with(secret, payload, header) for secret in secrets]):  # noqa: C419 - all are compared
        raise SignatureInvalid("no secret fits")
    try:
        return Event.model_validate(json.loads(payload, parse_constant=_refuse))
    except (ValueError, ValidationError, RecursionError):
        raise SignatureInvalid("not an event") from None


def _refuse(constant: str) -> float:
    """NaN and Infinity, which Python reads and JSON does not know (RFC 8259, section 6)."""
    raise ValueError(constant)


def _signed_with(secret: SecretStr, payload: str, header: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(payload, header, secret.get_secret_value()))
    except stripe.SignatureVerificationError:
        return False
