"""Faults on demand: what a network, a busy API or a webhook queue does to an integration.

A rule names the requests (or events) it applies to and how often; the first rule that fits decides. Probabilities
come from the seed, so a failing run can be played again.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from local.stripe.kinds import Json

RequestFault = Literal[
    "latency",  # wait, then answer; the idempotency key is in flight meanwhile
    "timeout_before",  # hang, then drop the connection; nothing happened
    "timeout_after",  # do it, hang, then drop the connection
    "drop_before",  # drop the connection at once; nothing happened
    "drop_after",  # do it, then drop the connection without an answer
    "rate_limit",  # 429 rate_limit
    "lock_timeout",  # 429 lock_timeout: another request holds the object
    "error_before",  # 500 and nothing happened; `remember` decides whether the key replays it
    "error_after",  # it happened, but the answer is 500; `remember` (default) makes the key replay the 500
]
WebhookFault = Literal[
    "webhook_duplicate",  # deliver `copies` more times
    "webhook_delay",  # deliver after `seconds`
    "webhook_reorder",  # deliver after a random part of `seconds`, so that order is lost
    "webhook_lose",  # never deliver
    "webhook_api_version",  # deliver with `api_version` in the event
]
REQUEST_FAULTS = frozenset(get_args(RequestFault))
WEBHOOK_FAULTS = frozenset(get_args(WebhookFault))


@dataclass
class FaultRule:
    """One rule. ``match`` is searched in the path of a request or in the type of an event."""

    id: str
    kind: str
    method: str = "*"
    match: str = ""
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    seconds: float = 1.0
    remember: bool = True
    copies: int = 1
    api_version: str = "2019-02-11"
    hits: int = 0
    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.kind not in REQUEST_FAULTS | WEBHOOK_FAULTS:
            msg = f"unknown fault {self.kind!r}; known: {', '.join(sorted(REQUEST_FAULTS | WEBHOOK_FAULTS))}"
            raise ValueError(msg)
        try:
            re.compile(self.match)
        except re.error as problem:
            msg = f"{self.match!r} is no regular expression: {problem}"
            raise ValueError(msg) from None

    def fits(self, method: str, subject: str) -> bool:
        """Whether the rule is about this request or event and has not been used up."""
        spent = self.times is not None and self.hits >= self.times
        return not spent and self.method in {"*", method} and re.search(self.match, subject) is not None

    def record(self) -> Json:
        """The rule as JSON, for the control routes."""
        return dict(vars(self))


_RULE = TypeAdapter(FaultRule)


@dataclass(frozen=True)
class Plan:
    """What befalls one request: waits in real seconds, where the connection breaks, which error replaces the answer."""

    kind: str = ""
    wait_before_seconds: float = 0.0
    wait_after_seconds: float = 0.0
    drop: Literal["", "before", "after"] = ""
    remember: bool = True


@dataclass
class Faults:
    """The rules in force."""

    seed: int | None = None
    rules: list[FaultRule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._numbers = itertools.count(1)

    def add(self, kind: str, **options: object) -> FaultRule:
        """Add a rule; ``options`` are the fields of :class:`FaultRule`. Raises ``ValueError`` for any other."""
        given = {**options, "id": f"fault_{next(self._numbers)}", "kind": kind}
        rule = _RULE.validate_python(given)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Drop every rule."""
        self.rules.clear()

    def _choose(self, kinds: frozenset[str], method: str, subject: str) -> FaultRule | None:
        for rule in self.rules:
            if rule.kind not in kinds or not rule.fits(method, subject):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.probability < 1 and self._random.random() >= rule.probability:
                continue
            rule.hits += 1
            return rule
        return None

    def for_request(self, method: str, path: str) -> Plan:
        """What befalls this request; an empty plan is the usual case."""
        rule = self._choose(REQUEST_FAULTS, method, path) if self.rules else None
        if rule is None:
            return Plan()
        waits_before = rule.kind in {"latency", "timeout_before"}
        ends = rule.kind.rsplit("_", 1)[-1] if rule.kind.startswith(("timeout", "drop")) else ""
        return Plan(
            kind=rule.kind,
            wait_before_seconds=rule.seconds if waits_before else 0.0,
            wait_after_seconds=rule.seconds if rule.kind == "timeout_after" else 0.0,
            drop="before" if ends == "before" else "after" if ends == "after" else "",
            remember=rule.remember,
        )

    def for_webhook(self, event_type: str) -> FaultRule | None:
        """The rule that befalls the delivery of an event, or None."""
        return self._choose(WEBHOOK_FAULTS, "*", event_type) if self.rules else None

    def part_of(self, seconds: float) -> float:
        """A repeatable random part of a time."""
        return self._random.uniform(0, seconds)
