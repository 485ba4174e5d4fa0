"""A schedule: a small world and what everybody does in it, drawn from a seed.

A step is only a number, an actor and a verb. What it is about (which booking, how long, which card) is drawn by the
step's number when it is played, so that a schedule with some steps left out plays the others alike.
"""

from dataclasses import dataclass, replace

from local.faults.draws import Draws
from local.faults.themes import Theme, theme_of

CITIES = ("Rome", "Oslo", "Lima", "Kyoto", "Paris", "Cairo")
CURRENCIES = (("eur", 7.0), ("usd", 2.0), ("jpy", 1.0))
CARDS = (
    ("pm_card_visa", 12.0),
    ("pm_card_mastercard", 3.0),
    ("pm_card_amex", 1.0),
    ("pm_card_chargeCustomerFail", 1.0),
    ("pm_card_authenticationRequiredOnSetup", 2.0),
    ("pm_card_authenticationRequired", 1.5),
    ("pm_card_riskLevelElevated", 0.7),
    ("pm_card_radarBlock", 0.4),
    ("pm_card_pendingRefund", 0.8),
    ("pm_card_refundFail", 0.6),
    ("pm_card_createDispute", 0.4),
    ("pm_card_createIssuerFraudRecord", 0.4),
    ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", 0.5),
)
"""Test cards that can be saved, and how often they are."""
BEHAVIOURS = (
    ("heal", 5.0),
    ("insufficient_funds", 3.0),
    ("do_not_honor", 2.0),
    ("try_again_later", 2.0),
    ("processing_error", 1.0),
    ("authentication_required", 2.0),
    ("processing", 3.0),
    ("expired_card", 0.7),
    ("lost_card", 0.5),
    ("fraudulent", 0.5),
    ("duplicate_transaction", 0.4),
    ("do_not_try_again", 0.5),
    ("network_update", 2.5),
)
"""What a bank may make of a card from one moment on (`local.stripe.actors.CardChange`)."""
ACTS: tuple[tuple[tuple[str, str], float], ...] = (
    (("feed", "post_offers"), 15.0),
    (("user", "charge"), 5.0),
    (("user", "charge_twice_at_once"), 3.0),
    (("fulfilment", "charge"), 2.0),
    (("user", "resume_campaign"), 5.0),
    (("user", "pause_campaign"), 0.7),
    (("user", "cancel_campaign"), 0.3),
    (("user", "change_campaign"), 0.7),
    (("user", "stop_all"), 0.3),
    (("user", "cancel_booking"), 2.0),
    (("user", "arrange_card"), 0.7),
    (("user", "detach_card"), 0.5),
    (("user", "save_card"), 0.7),
    (("user", "look_around"), 0.6),
    (("cardholder", "authenticate"), 4.0),
    (("fulfilment", "capture"), 4.0),
    (("fulfilment", "void"), 1.5),
    (("fulfilment", "refund"), 3.0),
    (("fulfilment", "refund_twice_at_once"), 0.7),
    (("bank", "change_card"), 2.0),
    (("bank", "open_dispute"), 0.8),
    (("bank", "end_dispute"), 0.8),
    (("bank", "warn_of_fraud"), 0.5),
    (("bank", "settle_refund"), 0.7),
    (("radar", "review"), 0.6),
    (("radar", "close_review"), 0.6),
    (("schedule", "reconcile"), 4.0),
    (("schedule", "reconcile_twice_at_once"), 0.8),
    (("schedule", "reconcile_a_day_later"), 0.3),
    (("schedule", "notify"), 1.8),
    (("schedule", "notify_twice_at_once"), 0.8),
    (("time", "minutes"), 4.0),
    (("time", "hours"), 1.6),
    (("time", "day"), 0.35),
    (("time", "week"), 0.03),
)


@dataclass(frozen=True)
class Step:
    """Somebody does something."""

    number: int
    actor: str
    act: str
    user: int = 0
    item: int = 0

    def __str__(self) -> str:
        return f"{self.number}. {self.actor} {self.act} (user {self.user}, item {self.item})"


@dataclass(frozen=True)
class Schedule:
    """What is played: the world's size, how wild it is, and the steps in order."""

    seed: int
    theme: Theme
    users: int
    fault_rate: float
    overlap: float
    webhook_lag_seconds: float
    """How late Stripe's news is, up to this; a day when the endpoint is as good as dead."""
    steps: tuple[Step, ...]
    faults: frozenset[str] | None = None
    """The only places where a fault may strike; None: wherever the seed says."""

    def only(self, steps: tuple[Step, ...], faults: frozenset[str] | None) -> "Schedule":
        """The same with fewer steps and faults."""
        return replace(self, steps=steps, faults=faults)


def plan(seed: int) -> Schedule:
    """The schedule of a seed."""
    draws = Draws(seed)
    users = draws.weighted(((1, 3.0), (2, 4.0), (3, 1.0)), "users")
    theme = theme_of(seed)
    acts = _acts_of(theme)
    fault_rate = draws.weighted(theme.fault_rates, "fault rate")
    steps: list[Step] = []

    def add(actor: str, act: str, user: int = 0, item: int = 0) -> None:
        steps.append(Step(len(steps), actor, act, user, item))

    for user in range(users):
        for card in range(draws.weighted(((1, 4.0), (2, 3.0), (3, 1.0)), "cards", user)):
            add("user", "save_card", user, card)
        for campaign in range(draws.weighted(((1, 5.0), (2, 3.0)), "campaigns", user) + (users == 1)):
            add("user", "create_campaign", user, campaign)
    for _ in range(draws.weighted(((3, 2.0), (4, 1.0)), "feeds")):
        add("feed", "post_offers", draws.between(0, users - 1, "feed", len(steps)))
    for _ in range(draws.between(*theme.length, "length")):
        actor, act = draws.weighted(acts, "act", len(steps))
        add(actor, act, draws.between(0, users - 1, "user", len(steps)), draws.between(3, 99, "item", len(steps)))
    lag = draws.weighted(theme.webhook_lags, "webhook lag")
    return Schedule(seed, theme, users, fault_rate, draws.seconds(*theme.overlap, "overlap"), lag, tuple(steps))


def _acts_of(theme: Theme) -> list[tuple[tuple[str, str], float]]:
    """The acts as the theme weighs them; offers keep their share."""
    weighed = [(act, weight * theme.acts.get(" ".join(act), 1.0)) for act, weight in ACTS]
    grown = sum(weight for _, weight in weighed) / sum(weight for _, weight in ACTS)
    return [(act, weight * grown if act == ("feed", "post_offers") else weight) for act, weight in weighed]
