"""What a schedule dwells on. Each seed has a theme: more of some acts, and faults that strike where the theme hurts.

Without them every seed is a bit of everything, and what needs three things at once (a partial refund, its answer lost,
its webhook late) happens once in hundreds of schedules. A theme only weighs: whatever can happen can in all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Weights = tuple[tuple[float, float], ...]

LOST_ANSWERS: Final = ("killed_after", "timeout_after", "dropped_after")
"""It happened, and nobody heard of it."""
NEVER_SENT: Final = ("killed_before", "timeout_before", "dropped_before")
"""It did not happen, and nobody knows."""
FAULT_RATES: Final[Weights] = ((0.0, 0.5), (0.01, 2.0), (0.035, 5.0), (0.09, 2.0))
WEBHOOK_LAGS: Final[Weights] = ((0.0, 4.0), (20.0, 3.0), (1800.0, 2.0), (86400.0, 1.5))
_LATE: Final[Weights] = ((20.0, 1.0), (1800.0, 3.0), (86400.0, 5.0))
_AT_ONCE: Final[Weights] = ((0.0, 6.0), (20.0, 1.0))
_FAULTY: Final[Weights] = ((0.035, 3.0), (0.09, 2.0))


@dataclass(frozen=True)
class Theme:
    """Factors on what is usual; what is not named stays as it is."""

    name: str
    acts: Mapping[str, float] = field(default_factory=dict)
    """By actor and act. Offers are posted as often as ever, so that there is something to charge."""
    cards: Mapping[str, float] = field(default_factory=dict)
    strikes: Mapping[str, float] = field(default_factory=dict)
    """How many times as often a fault strikes at a boundary."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By boundary, the faults that most of them are."""
    fault_rates: Weights = FAULT_RATES
    webhook_lags: Weights = WEBHOOK_LAGS
    slow_commits: float = 1.0
    overlap: tuple[float, float] = (0.1, 0.8)
    manual_capture: float = 0.3
    length: tuple[int, int] = (4, 13)
    """How many acts there are after the first offers."""
    tight_limits: float = 1.0
    """How many times as often a campaign has little budget and few bookings."""


_ODDS_AND_ENDS: Final = Theme(
    "odds and ends",  # what happens seldom, and news of it while somebody still does something
    acts={
        "user look_around": 14.0,
        "user stop_all": 3.0,
        "user change_campaign": 4.0,
        "user pause_campaign": 2.0,
        "user arrange_card": 4.0,
        "user detach_card": 7.0,
        "user cancel_booking": 1.5,
        "fulfilment void": 2.0,
        "fulfilment refund": 3.0,
        "bank open_dispute": 2.0,
        "bank end_dispute": 6.0,
        "bank warn_of_fraud": 6.0,
        "bank settle_refund": 22.0,
        "bank change_card": 2.0,
        "radar review": 2.0,
        "radar close_review": 8.0,
        "schedule reconcile_a_day_later": 9.0,
        "time week": 50.0,
    },
    cards={
        "pm_card_visa": 0.5,
        "pm_card_authenticationRequired": 3.0,
        "pm_card_pendingRefund": 4.0,
        "pm_card_refundFail": 4.0,
        "pm_card_createDispute": 4.0,
        "pm_card_createIssuerFraudRecord": 4.0,
    },
    kinds={"stripe POST refunds": NEVER_SENT},
    fault_rates=_FAULTY,
    webhook_lags=_AT_ONCE,
    manual_capture=0.45,
    length=(9, 17),
)

THEMES: Final = (
    Theme("everything"),
    Theme(
        "refunds",
        acts={
            "fulfilment refund": 2.5,
            "fulfilment refund_twice_at_once": 8.0,
            "bank settle_refund": 4.0,
            "schedule reconcile_a_day_later": 16.0,
        },
        cards={"pm_card_pendingRefund": 6.0, "pm_card_visa": 0.5},
        strikes={"stripe POST refunds": 1.5, "stripe? GET refunds": 2.0},
        kinds={"stripe POST refunds": (*LOST_ANSWERS, *NEVER_SENT)},
        fault_rates=_FAULTY,
        webhook_lags=_LATE,
        slow_commits=2.0,
        manual_capture=0.1,
    ),
    Theme(
        "rivals",  # several at one booking or campaign at the same moment
        acts={
            "user charge_twice_at_once": 3.0,
            "schedule reconcile_twice_at_once": 3.0,
            "user cancel_booking": 2.0,
            "fulfilment refund_twice_at_once": 2.0,
        },
        webhook_lags=_AT_ONCE,
        slow_commits=3.0,
        overlap=(0.5, 0.95),
        tight_limits=3.0,
    ),
    _ODDS_AND_ENDS,
    Theme(
        "lost answers",  # nobody knows whether Stripe charged, and somebody cancels or waits a day
        acts={"user cancel_booking": 4.0, "schedule reconcile": 1.5, "time day": 3.0, "time minutes": 0.5},
        strikes={"stripe POST payment_intents": 2.0, "stripe POST payment_intents/:id/confirm": 2.0},
        kinds={
            "stripe POST payment_intents": LOST_ANSWERS,
            "stripe POST payment_intents/:id/confirm": LOST_ANSWERS,
            "stripe POST payment_intents/:id/capture": LOST_ANSWERS,
        },
        fault_rates=_FAULTY,
        webhook_lags=_LATE,
    ),
    Theme(
        "mail",
        acts={"schedule notify_twice_at_once": 6.0, "schedule notify": 1.5},
        strikes={"ses SendEmail": 3.0, "db settle_notification": 3.0, "db claim_notifications": 3.0},
        slow_commits=1.5,
        overlap=(0.4, 0.9),
    ),
    Theme(
        "declines",
        acts={"bank change_card": 5.0, "cardholder authenticate": 1.5, "user cancel_booking": 2.0},
        cards={"pm_card_visa": 0.4, "pm_card_authenticationRequired": 2.0, "pm_card_chargeCustomerFail": 2.0},
        strikes={"stripe POST payment_intents/:id/cancel": 2.0},
    ),
    Theme(
        "holds",
        acts={"fulfilment capture": 2.0, "fulfilment void": 2.5, "user cancel_booking": 2.0, "time hours": 2.0},
        strikes={"stripe POST payment_intents/:id/capture": 2.0, "stripe POST payment_intents/:id/cancel": 2.0},
        manual_capture=0.85,
    ),
    _ODDS_AND_ENDS,
)
"""Taken in turn, so that any row of seeds as long as this has all of them; one of them twice, for what is seldom."""


def theme_of(seed: int) -> Theme:
    """The theme of a seed."""
    return THEMES[seed % len(THEMES)]
