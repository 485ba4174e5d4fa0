"""Saving a card: the consent that goes in, and what a page needs for Stripe.js."""

from typing import Annotated

from pydantic import BaseModel, Field

from functions.shared.schemas import PaymentMethodView
from functions.shared.web import Body


class Consent(Body):
    """Which terms the user agreed to: the permission to be charged off-session."""

    terms_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class SetupRequest(Body):
    """A card can be saved with the user's consent only."""

    consent: Consent


class SetupView(BaseModel):
    """For Stripe.js's confirmSetup."""

    id: str
    client_secret: str
    publishable_key: str
    status: str


class SetupFailure(BaseModel):
    """Why a set-up failed, in words for the cardholder."""

    user_message: str


class SetupResult(BaseModel):
    """Where a set-up stands, with the card when it succeeded."""

    id: str
    status: str
    payment_method: PaymentMethodView | None = None
    error: SetupFailure | None = None
