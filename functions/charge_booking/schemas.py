"""What charge-booking takes, over HTTP and from the queue."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from functions.shared.web import Body

OfferId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]


class ChargeRequest(Body):
    """Which offer to book for which campaign. The price is the offer's: no caller names one."""

    campaign_id: UUID
    offer_id: OfferId
