"""What a declined charge means: which of seven things happens next, and what the cardholder is told.

The order: the first of Radar block, `advice_code`, `network_advice_code`, `decline_code`, `code` that is
present and known to the tables decides the category. A value that no table knows is passed over and reported
in `Decline.unknown_codes`; where nothing is known the answer is `other_card` with a generic sentence.

Taken literally the order would do harm in a few places. There the safer behaviour is built, strongest first:

1. **Authentication.** A decline that asks the cardholder to authenticate is `user_action`, whatever the
   advice: without the cardholder no attempt can succeed, and with the cardholder none is unsafe.
2. **Duplicates.** `stop` wins over any advice: charging again, this card or a backup, might pay twice. "Do not
   try again" then means the payment, and does not bar the card.
3. **Suspicion.** A fraud reason in any field (lost, stolen, Radar, sanctions, ...) makes it `never`, with the
   sentence of a `generic_decline`. `is_fraud` stays true even where 1 or 2 decide: nothing falls back to
   another card by itself.
4. **Prohibitions outrank permissions.** "Do not try again" from Stripe or the issuer wins over "try again
   later" and "correct the card". The network's own code has that power only over "try again later": when
   Stripe answers `confirm_card_data` it has read the network's code already, with the brand known (its
   documented answer to an expired card is `confirm_card_data` beside `03`, https://docs.stripe.com/declines).
   A reason that a second attempt can't cure (expired, wrong number) wins over "try again later" too.

The sentence says why in the words of the most specific code, and what to do in the words of the category.

`network_advice_code` means different things by brand: `03` is "do not try again" at Mastercard and "check the
details" at Visa. Without `network` it is read as Mastercard's, the stricter reading.

Imported on the cold-start path: standard library only.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from functions.shared import decline_table as table
from functions.shared.decline_error_codes import ERROR_CODES, OUR_BUG_CODES
from functions.shared.decline_table import DeclineCategory, Rule

__all__ = ["Decline", "DeclineCategory", "DeclineSource", "classify"]

DeclineSource = Literal["outcome", "advice_code", "network_advice_code", "decline_code", "code", "unknown"]


@dataclass(frozen=True, slots=True)
class Decline:
    """The meaning of one declined attempt.

    `code`, `source`: the value that decided and the field it came from; "none", "unknown" if there was none.
    `category`: what happens next.
    `user_message`: English for the cardholder, 20 to 220 characters.
    `is_fraud`: no other card may be charged by itself.
    `blocks_card`: this card is never to be charged again, for this booking or another. `never` without it
    ends only this booking on this card (a Radar rule may be about the amount).
    `is_known`: false if any field held a value that no table knows, or no field had one.
    `retry_after_seconds`: with `retry_later`, the wait that the network prescribes, if it does.
    `unknown_codes`: the values that no table knows, as "field=value", to be counted.
    """

    code: str
    source: DeclineSource
    category: DeclineCategory
    user_message: str
    is_fraud: bool
    is_known: bool
    blocks_card: bool
    retry_after_seconds: int | None = None
    unknown_codes: tuple[str, ...] = ()

    @property
    def allows_other_card(self) -> bool:
        """Another card of the cardholder may be charged for the same booking without asking.

        With `retry_later` it is a choice between another card now and the same card later.
        """
        return self.category in _FALLBACK_CATEGORIES and not self.is_fraud

    @property
    def public_code(self) -> str:
        """The code that a cardholder may see, in an API answer say: fraud reads `generic_decline`."""
        return "generic_decline" if self.is_fraud else self.code


_FALLBACK_CATEGORIES: Final = frozenset(
    {
        DeclineCategory.RETRY_LATER,
        DeclineCategory.OTHER_CARD,
        DeclineCategory.UPDATE_CARD,
        DeclineCategory.NEVER,
    }
)


class _Evidence(NamedTuple):
    source: DeclineSource
    code: str
    rule: Rule


_SPECIFIC_SOURCES: Final = frozenset({"decline_code", "code"})
_MAX_CODE_LENGTH: Final = 100  # what we store and count; Stripe's longest documented code has 77 characters


def classify(
    *,
    outcome_type: str | None = None,
    outcome_reason: str | None = None,
    advice_code: str | None = None,
    network_advice_code: str | None = None,
    decline_code: str | None = None,
    code: str | None = None,
    network: str | None = None,
) -> Decline:
    """Classify one decline by what Stripe's answer holds. Any argument may be missing; no string raises.

    `outcome_*` are of the Charge's `outcome`, the other codes of the error or `last_payment_error`, and
    `network` is the card's network or brand as Stripe writes it ("visa", "mastercard").
    """
    evidence, unknown = _gather(
        outcome_type=_clean(outcome_type),
        outcome_reason=_clean(outcome_reason),
        advice_code=_clean(advice_code),
        network_advice_code=_clean(network_advice_code),
        decline_code=_clean(decline_code),
        code=_clean(code),
        network=_clean(network),
    )
    if evidence:
        deciding = _decide(evidence)
    else:
        deciding = _Evidence("unknown", unknown[0].partition("=")[2] if unknown else "none", table.GENERIC)
    category = deciding.rule.category
    is_fraud = any(item.rule.fraud for item in evidence)
    return Decline(
        code=deciding.code,
        source=deciding.source,
        category=category,
        user_message=table.NEUTRAL_SENTENCE if is_fraud else _sentence(deciding, evidence),
        is_fraud=is_fraud,
        is_known=not unknown and bool(evidence),
        blocks_card=_blocks_card(deciding, evidence),
        retry_after_seconds=_wait(evidence) if category is DeclineCategory.RETRY_LATER else None,
        unknown_codes=unknown,
    )


def _clean(value: str | None) -> str | None:
    """Lower case without surrounding space, bounded; None for what is empty."""
    return (value.strip().lower()[:_MAX_CODE_LENGTH] or None) if value else None


def _gather(
    *,
    outcome_type: str | None,
    outcome_reason: str | None,
    advice_code: str | None,
    network_advice_code: str | None,
    decline_code: str | None,
    code: str | None,
    network: str | None,
) -> tuple[list[_Evidence], tuple[str, ...]]:
    """What the tables know of each field, in the deciding order, and the values they don't know."""
    evidence: list[_Evidence] = []
    unknown: list[str] = []

    def look_up(source: DeclineSource, value: str | None, *tables: dict[str, Rule]) -> None:
        if value is None:
            return
        rule = next((rules[value] for rules in tables if value in rules), None)
        if rule is None and source == "code" and value in OUR_BUG_CODES:
            rule = table.OUR_FAULT
        if rule is None:
            unknown.append(f"{source}={value}")
        else:
            evidence.append(_Evidence(source, value, rule))

    if outcome_type == "blocked" or (outcome_type is None and outcome_reason == "highest_risk_level"):
        reason = outcome_reason or "blocked"
        if reason not in table.RADAR_REASONS and outcome_reason:
            unknown.append(f"outcome={reason}")
        evidence.append(_Evidence("outcome", reason, table.RADAR_REASONS.get(reason, table.RADAR_UNKNOWN)))
    elif outcome_type == "issuer_declined" and decline_code is None:
        decline_code = outcome_reason  # a Charge carries the issuer's decline code only as its outcome's reason
    look_up("advice_code", advice_code, table.ADVICE_CODES)
    if network_advice_code is not None:
        by_network = table.VISA_CATEGORIES if network == "visa" else table.MERCHANT_ADVICE_CODES
        look_up("network_advice_code", network_advice_code.zfill(2), by_network)
    look_up("decline_code", decline_code, table.DECLINE_CODES)
    look_up("code", code, ERROR_CODES, table.DECLINE_CODES)
    return evidence, tuple(unknown)


def _decide(evidence: list[_Evidence]) -> _Evidence:
    """The first in the order, unless one of the module's four rules speaks against it."""
    for category in (DeclineCategory.USER_ACTION, DeclineCategory.STOP):
        for item in evidence:
            if item.rule.category is category:
                return item
    for item in evidence:
        if item.rule.fraud:
            return item
    first = evidence[0]
    if first.rule.blocks_card:
        return first
    for item in evidence:
        if item.rule.blocks_card and item.source != "network_advice_code":
            return item
    if first.rule.category is DeclineCategory.RETRY_LATER:
        return next((item for item in evidence if item.rule.blocks_card or item.rule.no_retry), first)
    return first


def _blocks_card(deciding: _Evidence, evidence: list[_Evidence]) -> bool:
    """Whether anyone whose word counts here forbade the card.

    Authenticated by its holder it may be charged. Beside a duplicate, "do not try again" is about the payment,
    not the card (https://docs.stripe.com/declines/card: "for the same transaction").
    """
    category = deciding.rule.category
    if category is DeclineCategory.USER_ACTION:
        return False
    silent = {"network_advice_code", "advice_code"} if category is DeclineCategory.STOP else {"network_advice_code"}
    return any(item.rule.blocks_card and (item is deciding or item.source not in silent) for item in evidence)


def _sentence(deciding: _Evidence, evidence: list[_Evidence]) -> str:
    """Why, by the most specific code with words of its own; what to do, by the category that was decided."""
    why = deciding.rule
    if deciding.source not in _SPECIFIC_SOURCES:
        specific = (item.rule for item in evidence if item.source in _SPECIFIC_SOURCES)
        why = next((rule for rule in specific if rule.reason != table.GENERIC_REASON), why)
    action = why.action if why.category is deciding.rule.category else deciding.rule.action
    return f"{why.reason} {action or table.ACTIONS[deciding.rule.category]}"


def _wait(evidence: list[_Evidence]) -> int | None:
    """The longest wait that any field asks for."""
    return max((item.rule.wait_seconds for item in evidence if item.rule.wait_seconds is not None), default=None)
