"""What fulfilment asks for, and what a page needs for an authentication."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from functions.shared.amounts import AmountMinor
from functions.shared.web import Body


class CaptureRequest(Body):
    """How much of the hold to take; all of it unless said."""

    amount_minor: AmountMinor | None = None


class RefundRequest(Body):
    """How much to give back, all that is left unless said, and why."""

    amount_minor: AmountMinor | None = None
    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] | None = None


class Authentication(BaseModel):
    """For Stripe.js on the cardholder's page; good until `expires_at`."""

    client_secret: str
    publishable_key: str
    expires_at: datetime
