"""What users say of their campaigns, and what they are told."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints, model_validator

from functions.shared.amounts import AmountMinor, CurrencyCode
from functions.shared.json_objects import JsonObject
from functions.shared.schemas import BookingView
from functions.shared.states import CampaignStatus, CaptureMode, HoldEnd, MatchState, PauseReason, Verdict
from functions.shared.web import Body


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("holds a character that cannot be stored")
    return value


def _in_future(value: datetime) -> datetime:
    if value <= datetime.now(UTC):
        raise ValueError("has passed")
    return value


Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_storable)
]
MaxBookings = Annotated[int, Field(ge=1, le=1000)]
Ending = Annotated[AwareDatetime, AfterValidator(_in_future)]


class NewCampaign(Body):
    """A campaign to open. Without a card it takes the default; backups are used only with consent."""

    title: Title
    criteria: JsonObject
    currency: CurrencyCode
    max_price_minor: AmountMinor
    budget_minor: AmountMinor
    max_bookings: MaxBookings
    expires_at: Ending
    payment_method_id: UUID | None = None
    use_backups: bool = False
    capture: CaptureMode = CaptureMode.AUTOMATIC
    when_hold_ends: HoldEnd = HoldEnd.VOID
    auto_book: bool = True

    @model_validator(mode="after")
    def _price_within_budget(self) -> Self:
        if self.max_price_minor > self.budget_minor:
            raise ValueError("max_price_minor is above budget_minor")
        return self


class CampaignChange(Body):
    """What may change of a campaign that is active or paused; what is left out stays."""

    title: Title | None = None
    criteria: JsonObject | None = None
    max_price_minor: AmountMinor | None = None
    budget_minor: AmountMinor | None = None
    max_bookings: MaxBookings | None = None
    expires_at: Ending | None = None
    payment_method_id: UUID | None = None
    use_backups: bool | None = None
    capture: CaptureMode | None = None
    when_hold_ends: HoldEnd | None = None
    auto_book: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing to change")
        if any(getattr(self, name) is None for name in self.model_fields_set - {"payment_method_id"}):
            raise ValueError("only payment_method_id may be null")
        return self


class CampaignView(BaseModel):
    """A campaign with what is reserved and spent of its budget, in minor units."""

    id: UUID
    title: str
    criteria: dict[str, Any]
    currency: str
    max_price_minor: int
    budget_minor: int
    max_bookings: int
    expires_at: datetime
    payment_method_id: UUID | None
    use_backups: bool
    capture: CaptureMode
    when_hold_ends: HoldEnd
    auto_book: bool
    status: CampaignStatus
    pause_reason: PauseReason | None
    reserved_minor: int
    spent_minor: int
    bookings_in_flight: int
    bookings_confirmed: int
    created_at: datetime


class CampaignList(BaseModel):
    """A page of campaigns, newest first."""

    data: list[CampaignView]
    next_cursor: str | None


class Stopped(BaseModel):
    """What the kill switch stopped: campaigns now paused, bookings called off."""

    campaigns: list[UUID]
    bookings: list[UUID]


class Finding(BaseModel):
    """Something that a charge would meet: an error stops it, a warning may."""

    severity: Literal["error", "warning"]
    code: str
    message: str


class Preflight(BaseModel):
    """Would a charge work now?"""

    ready: bool
    findings: list[Finding]


class ConsideredOffer(BaseModel):
    """The offer as it stands."""

    attributes: dict[str, Any]
    amount_minor: int
    currency: str
    expires_at: datetime


class TimelineEntry(BaseModel):
    """An offer that fitted the criteria: why it was or was not booked, and the booking with its attempts."""

    offer_id: str
    considered_at: datetime
    verdict: Verdict
    state: MatchState
    offer: ConsideredOffer
    booking: BookingView | None


class Timeline(BaseModel):
    """A page of a campaign's timeline, newest first."""

    data: list[TimelineEntry]
    next_cursor: str | None
