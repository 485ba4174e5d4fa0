"""Idempotency keys as Stripe documents them (https://docs.stripe.com/api/idempotent_requests).

The first answer of a key is kept, "regardless of whether it succeeds or fails", 500s included, for at least 24 hours,
unless the endpoint never began executing. Reuse with other parameters is an error; so is use while the first request
is still running (409).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.stripe.errors import StripeFault

if TYPE_CHECKING:
    from local.stripe.clock import Clock
    from local.stripe.kinds import Json

MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, body bytes, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class _Entry:
    fingerprint: str
    path: str
    created: float
    request_id: str
    answer: Answer | None = None


class IdempotencyKeys:
    """The keys of one account. Not safe for threads by itself: the world's lock is held around it."""

    def __init__(self, clock: Clock, ttl_seconds: float) -> None:
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, key: str, path: str, params: Json, request_id: str) -> Answer | None:
        """Claim a key for a request: the answer to replay, or None when the caller is the first.

        Raises 400 ``idempotency_error`` for other parameters or another path, 409 ``idempotency_key_in_use`` while
        the first request runs.
        """
        if len(key) > MAX_KEY_LENGTH:
            message = f"Idempotency keys must be at most {MAX_KEY_LENGTH} characters"
            raise StripeFault(message, kind="idempotency_error", remembered=False)
        self.prune()
        fingerprint = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(fingerprint, path, self._clock.now(), request_id)
            return None
        if entry.path != path:
            raise _reused(key, f"same endpoint they were first used with ('{entry.path}' vs. '{path}')")
        if entry.fingerprint != fingerprint:
            raise _reused(key, "same parameters they were first used with")
        if entry.answer is None:
            message = (
                "There is currently another in-progress request using this Idempotency Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later."
            )
            raise StripeFault(
                message, status=409, kind="idempotency_error", code="idempotency_key_in_use", remembered=False
            )
        replayed = {"idempotent-replayed": "true", "original-request": entry.request_id}
        return Answer(entry.answer.status, entry.answer.body, {**entry.answer.headers, **replayed})

    def finish(self, key: str, answer: Answer | None) -> None:
        """Keep the answer of a claimed key, or with None forget the claim: the endpoint never began."""
        if answer is None:
            self._entries.pop(key, None)
        elif key in self._entries:
            self._entries[key].answer = answer

    def prune(self) -> None:
        """Drop the keys that are older than Stripe keeps them. Keys are in order of age."""
        horizon = self._clock.now() - self._ttl_seconds
        for key, entry in list(self._entries.items()):
            if entry.created > horizon:
                break
            if entry.answer is not None:
                del self._entries[key]

    def expire_all(self) -> int:
        """Forget every finished key, as if a day had passed; returns how many."""
        finished = [key for key, entry in self._entries.items() if entry.answer is not None]
        for key in finished:
            del self._entries[key]
        return len(finished)


def _reused(key: str, rule: str) -> StripeFault:
    message = (
        f"Keys for idempotent requests can only be used with the {rule}. Try using a key other than '{key}' if you "
        "meant to execute a different request."
    )
    return StripeFault(message, kind="idempotency_error", remembered=False)
