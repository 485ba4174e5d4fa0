"""Signatures of machines: `Autobook-Signature: t=<unix seconds>,v1=<hex hmac-sha256 of "t.rawbody">`.

The scheme is Stripe's (https://docs.stripe.com/webhooks#verify-manually). A signature repeated within the tolerance is
harmless: every machine route is idempotent.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable

from pydantic import SecretStr

TOLERANCE_SECONDS = 300
_PART = re.compile(r"^(t|v1)=([0-9a-f]{1,64})$")


class SignatureInvalid(Exception):
    """The header does not vouch for the body. The message says why, and nothing of the secret."""


def sign(raw_body: bytes, secret: str, timestamp: int) -> str:
    """The header for a body: what feeds and fulfilment send."""
    return f"t={timestamp},v1={_digest(raw_body, secret, timestamp)}"


def verify(header: str | None, raw_body: bytes, secrets: Iterable[SecretStr], now: float | None = None) -> None:
    """Accept a body signed with any of the secrets, at most five minutes ago or ahead. Raises SignatureInvalid."""
    if not header or len(header) > 1000:
        raise SignatureInvalid("no signature")
    timestamps: list[str] = []
    digests: list[str] = []
    for part in header.split(","):
        match = _PART.match(part.strip())
        if match:
            (timestamps if match[1] == "t" else digests).append(match[2])
    if len(timestamps) != 1 or not timestamps[0].isdigit() or len(timestamps[0]) > 12 or not digests:
        raise SignatureInvalid("malformed signature")
    timestamp = int(timestamps[0])
    if abs((time.time() if now is None else now) - timestamp) > TOLERANCE_SECONDS:
        raise SignatureInvalid("timestamp outside of the tolerance")
    # All pairs are compared, so that the time taken says nothing about which secret or digest was near.
    fits = [
        hmac.compare_digest(digest, _digest(raw_body, secret.get_secret_value(), timestamp))
        for secret in secrets
        for digest in digests[:5]
    ]
    if not any(fits):
        raise SignatureInvalid("no secret fits")


def _digest(raw_body: bytes, secret: str, timestamp: int) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + raw_body, hashlib.sha256).hexdigest()
