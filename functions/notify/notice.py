"""A notification as `claim_notifications` hands it out, checked, and put into the words that people read."""

from datetime import UTC, datetime
from textwrap import shorten
from typing import Any, Final
from unicodedata import category
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from functions.shared.money import format_amount

_BRANDS: Final = {
    "amex": "American Express",
    "cartes_bancaires": "Cartes Bancaires",
    "diners": "Diners Club",
    "eftpos_au": "eftpos",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "unionpay": "UnionPay",
    "unknown": "Card",
}
"""Stripe's names of card brands (https://docs.stripe.com/api/payment_methods/object) where a capital is not enough."""


class _Row(BaseModel):
    """What SQL adds to its answer one day must not stop the mail."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Data(_Row):
    """What the cause of the notification wrote down, as far as a message can use it."""

    amount_minor: int | None = None
    currency: str | None = None
    user_message: str | None = None
    expires_at: AwareDatetime | None = None
    retry_at: AwareDatetime | None = None
    reason: str | None = None
    campaign_paused: bool = False
    count: int | None = None
    all: bool = False
    exp_month: int | None = None
    exp_year: int | None = None


class Campaign(_Row):
    """The campaign that it is about."""

    id: UUID
    title: str


class Booking(_Row):
    """The booking that it is about."""

    id: UUID
    amount_minor: int
    currency: str


class Card(_Row):
    """The card that it is about."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class Notice(_Row):
    """One notification to send: `number` is the claim's, and makes the lease ours."""

    id: UUID
    number: int = Field(alias="try")
    kind: str
    data: Data
    created_at: AwareDatetime
    email: str
    campaign: Campaign | None
    booking: Booking | None
    card: Card | None
    exponent: int | None

    def words(self, app_url: str) -> dict[str, Any]:
        """What the templates speak of: every name is always there, None where there is nothing to say."""
        data = self.data
        title = self._title()
        return {
            "campaign": f"the campaign \N{LEFT DOUBLE QUOTATION MARK}{title}\N{RIGHT DOUBLE QUOTATION MARK}"
            if title
            else "your campaign",
            "campaign_short": shorten(title, 60, placeholder="\N{HORIZONTAL ELLIPSIS}") if title else "your campaign",
            "amount": self._amount() or "an amount",
            "card": self._card(),
            "card_expiry": self._card_expiry(),
            "user_message": _one_line(data.user_message) if data.user_message else None,
            "expires_at": _moment(data.expires_at),
            "retry_at": _moment(data.retry_at),
            "reason": data.reason,
            "campaign_paused": data.campaign_paused,
            "all_cards": data.all,
            "count": data.count,
            "booking_url": f"{app_url}/bookings/{self.booking.id}" if self.booking else f"{app_url}/bookings",
            "campaign_url": f"{app_url}/campaigns/{self.campaign.id}" if self.campaign else f"{app_url}/campaigns",
            "campaigns_url": f"{app_url}/campaigns",
            "cards_url": f"{app_url}/payment-methods",
        }

    def facts(self) -> list[tuple[str, str]]:
        """What the message is about, as names and values."""
        facts = {
            "Campaign": self._title(),
            "Amount": self._amount(),
            "Card": self._card(),
            "Booking": str(self.booking.id) if self.booking else None,
            "Time": _moment(self.created_at),
        }
        return [(name, value) for name, value in facts.items() if value]

    def _title(self) -> str:
        return _one_line(self.campaign.title) if self.campaign else ""

    def _card(self) -> str | None:
        if self.card is None:
            return None
        brand = _BRANDS.get(self.card.brand) or self.card.brand.replace("_", " ").capitalize()
        return f"{brand} ending in {self.card.last4}"

    def _amount(self) -> str | None:
        """The amount of the message itself, else the booking's price."""
        if self.exponent is None:
            return None
        if self.data.amount_minor is not None and self.data.currency is not None:
            return format_amount(self.data.amount_minor, self.exponent, self.data.currency)
        if self.booking is not None:
            return format_amount(self.booking.amount_minor, self.exponent, self.booking.currency)
        return None

    def _card_expiry(self) -> str | None:
        month = self.data.exp_month or (self.card.exp_month if self.card else None)
        year = self.data.exp_year or (self.card.exp_year if self.card else None)
        return f"{month:02}/{year}" if month and year else None


def _one_line(text: str) -> str:
    """Text on one line and without control characters: a title is its user's own, and no part of a mail's form."""
    return " ".join("".join(one for one in text if one.isspace() or category(one) != "Cc").split())


def _moment(moment: datetime | None) -> str | None:
    """A moment as people read it, in the one zone that is nobody's guess."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y}, {utc:%H:%M} UTC"
