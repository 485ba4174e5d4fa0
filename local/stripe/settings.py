"""What a stand-in is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import stripe

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class WebhookTarget:
    """A webhook endpoint given at start: where events go and the ``whsec_…`` they are signed with."""

    url: str
    secret: str = field(repr=False)
    enabled_events: tuple[str, ...] = ("*",)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The stand-in's settings; every default mirrors what Stripe documents, sped up where waiting teaches nothing.

    ``seed`` makes ids, risk scores and fault probabilities repeatable. Times ending in ``_seconds`` are of the
    simulated clock, except the webhook ones, which are real: a receiver checks signatures by its own clock.
    """

    secret_key: str = field(repr=False)
    publishable_key: str
    restricted_keys: Mapping[str, frozenset[str]] = field(repr=False, default_factory=dict)
    """``rk_…`` keys and what each may do, e.g. ``payment_intent_write`` (writing includes reading)."""
    webhooks: tuple[WebhookTarget, ...] = ()
    control: bool = False
    seed: int | None = None
    api_version: str = stripe.api_version
    account_id: str = "acct_1StandIn0Autobook"
    account_country: str = "DE"
    settlement_currency: str = "eur"

    # https://docs.stripe.com/api/idempotent_requests: keys are kept for at least 24 hours.
    idempotency_ttl_seconds: int = 24 * 3600
    # Stripe retries live events for three days and sandbox ones three times over a few hours: here within seconds.
    webhook_retry_seconds: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
    webhook_timeout_seconds: float = 10.0
    webhook_parallel: int = 8
    # https://docs.stripe.com/payments/place-a-hold-on-a-payment-method: seven days, merchant-initiated Visa 4 d 18 h.
    hold_seconds: int = 7 * 24 * 3600
    hold_seconds_visa_off_session: int = (4 * 24 + 18) * 3600
    # "Some time later" of the refund test cards, and of disputes after a charge.
    refund_delay_seconds: float = 0.3
    aftermath_delay_seconds: float = 0.0
    # Search is not read-after-write consistent at Stripe ("within a minute"); zero unless a test wants the lag.
    search_lag_seconds: float = 0.0
    radar_blocks_highest_risk: bool = True
    radar_reviews_elevated_risk: bool = True
