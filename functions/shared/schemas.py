"""Answers that more than one endpoint gives, for the OpenAPI description; SQL makes them (booking_view and friends)."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from functions.shared.states import AttemptStatus, BookingStatus, CaptureMode, PaymentMethodStatus


class ProblemDocument(BaseModel):
    """RFC 9457 problem document; `code` is stable, `user_message` is for a human."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    user_message: str | None = None


class AttemptView(BaseModel):
    """One try to charge one card."""

    id: UUID
    ordinal: int
    status: AttemptStatus
    payment_method_id: UUID
    user_message: str | None
    created_at: datetime
    settled_at: datetime | None


class BookingView(BaseModel):
    """A booking with its attempts, oldest first. `expires_at`: until when the cardholder or fulfilment must act."""

    id: UUID
    campaign_id: UUID
    offer_id: str
    status: BookingStatus
    amount_minor: int
    currency: str
    amount_refunded_minor: int
    capture: CaptureMode
    attempts: list[AttemptView]
    user_message: str | None
    expires_at: datetime | None
    retry_at: datetime | None
    confirmed_at: datetime | None
    created_at: datetime


class BookingList(BaseModel):
    """A page of bookings, newest first."""

    data: list[BookingView]
    next_cursor: str | None


class PaymentMethodView(BaseModel):
    """A saved card: what a page shows of it."""

    id: UUID
    status: PaymentMethodStatus
    brand: str
    last4: Annotated[str, Field(pattern="^[0-9]{4}$")]
    exp_month: int
    exp_year: int
    funding: str
    country: str | None
    wallet: str | None
    is_default: bool
    backup_position: int | None
    created_at: datetime


class PaymentMethodList(BaseModel):
    """A page of cards: the default first, then the backup chain."""

    data: list[PaymentMethodView]
    next_cursor: str | None
