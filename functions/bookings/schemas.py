"""What a page needs for an authentication."""

from datetime import datetime

from pydantic import BaseModel


class Authentication(BaseModel):
    """For Stripe.js on the cardholder's page; good until `expires_at`."""

    client_secret: str
    publishable_key: str
    expires_at: datetime
