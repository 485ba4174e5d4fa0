"""The bank behind a test card: what it says to a set-up or a payment, and what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from local.stripe.declines import DECLINES, Decline

if TYPE_CHECKING:
    from local.stripe.cards import TestCard

Answer = Literal["approve", "decline", "challenge", "block", "process"]


@dataclass(frozen=True)
class Behaviour:
    """How a card acts from now on instead of by its number; ``times`` uses it up.

    ``kind`` is approve, decline, radar_block, authentication_required (off-session), challenge (on-session and off),
    or processing.
    """

    kind: Literal["approve", "decline", "radar_block", "authentication_required", "challenge", "processing"]
    decline: Decline | None = None
    times: int | None = None
    seconds: float = 1.0


@dataclass
class CardState:
    """What bank and Stripe know of one payment method beyond its API object."""

    card: TestCard
    set_up: bool = False  # an authenticated SetupIntent or setup_future_usage payment succeeded
    detached: bool = False
    consumed: bool = False  # used once without a customer
    behaviour: Behaviour | None = None

    def take_behaviour(self) -> Behaviour | None:
        """The behaviour in force, counting down its uses."""
        current = self.behaviour
        if current is not None and current.times is not None:
            left = current.times - 1
            self.behaviour = replace(current, times=left) if left > 0 else None
        return current


@dataclass(frozen=True)
class Verdict:
    """The bank's (or Radar's) answer."""

    answer: Answer
    decline: Decline | None = None
    seconds: float = 0.0
    authenticated: bool = False


APPROVED = Verdict("approve")
CHALLENGE = Verdict("challenge")
# Radar's own refusal reaches no bank, so there is neither advice nor a network code.
BLOCKED = Verdict("block", Decline("card_declined", "fraudulent", "Your card was declined."))


def declined(name: str) -> Verdict:
    """A refusal by its decline code."""
    return Verdict("decline", DECLINES[name])


_CHALLENGED_ON_SESSION = {"unless_set_up", "always", "already_set_up", "one_time", "required"}
_CHALLENGED_AT_SETUP = {"unless_set_up", "always", "required"}


def judge_attach(state: CardState) -> Verdict:
    """A card being attached to a customer: the documented decline cards can't be."""
    if state.behaviour is not None and state.behaviour.kind == "approve":
        return APPROVED
    card = state.card
    return declined(card.decline) if card.decline is not None and card.declines_attach else APPROVED


def judge_setup(state: CardState, *, authenticated: bool, request_three_d_secure: str) -> Verdict:
    """A SetupIntent being confirmed, with the cardholder there."""
    behaviour = state.take_behaviour()
    if behaviour is not None:
        return _by_behaviour(behaviour, off_session=False, authenticated=authenticated)
    if authenticated:
        return judge_attach(state)
    kind = state.card.three_ds
    if kind == "required_error":
        return declined("generic_decline")
    if kind in _CHALLENGED_AT_SETUP:
        return CHALLENGE
    if request_three_d_secure != "automatic":
        return _on_request(state, judge_attach(state))
    return judge_attach(state)


def judge_payment(  # noqa: PLR0911 - the order of these questions is the rule
    state: CardState,
    *,
    off_session: bool,
    authenticated: bool,
    request_three_d_secure: str,
    blocks_highest_risk: bool,
) -> Verdict:
    """A payment. Off-session nobody can answer a challenge, so the bank declines with authentication_required."""
    behaviour = state.take_behaviour()
    if behaviour is not None:
        return _by_behaviour(behaviour, off_session=off_session, authenticated=authenticated)
    card = state.card
    if card.radar == "blocked" or (card.radar == "highest" and blocks_highest_risk):
        return BLOCKED
    plain = declined(card.decline) if card.decline is not None else APPROVED
    if authenticated:
        return declined(card.after_authentication) if card.after_authentication is not None else plain
    if card.three_ds == "required_error":
        return declined("generic_decline")
    if off_session:
        return declined("authentication_required") if _refused_unattended(state) else plain
    if card.three_ds in _CHALLENGED_ON_SESSION:
        return CHALLENGE
    return plain if request_three_d_secure == "automatic" else _on_request(state, plain)


def _refused_unattended(state: CardState) -> bool:
    kind = state.card.three_ds
    return kind == "always" or (kind in {"unless_set_up", "required"} and not state.set_up)


def _on_request(state: CardState, otherwise: Verdict) -> Verdict:
    """``request_three_d_secure`` any or challenge: only enrolled cards are asked."""
    if state.card.three_ds == "optional":
        return CHALLENGE
    if state.card.three_ds == "optional_error":
        return declined("processing_error")
    return otherwise


def _by_behaviour(behaviour: Behaviour, *, off_session: bool, authenticated: bool) -> Verdict:
    match behaviour.kind:
        case "approve":
            return APPROVED
        case "decline":
            return Verdict("decline", behaviour.decline or DECLINES["generic_decline"])
        case "radar_block":
            return BLOCKED
        case "processing":
            return Verdict("process", behaviour.decline, seconds=behaviour.seconds)
        case "authentication_required" | "challenge":
            if authenticated:
                return APPROVED
            return declined("authentication_required") if off_session else CHALLENGE
