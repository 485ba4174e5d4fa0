"""What the feed sends, and what it is told."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from functions.shared.amounts import AmountMinor, CurrencyCode
from functions.shared.json_objects import JsonObject
from functions.shared.web import Body

MOST_OFFERS = 100


def _unique(offers: list["Offer"]) -> list["Offer"]:
    if len({offer.id for offer in offers}) != len(offers):
        raise ValueError("an offer's id stands twice")
    return offers


class Offer(Body):
    """Something bookable. `attributes` is matched against the criteria of campaigns."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    attributes: JsonObject
    amount_minor: AmountMinor
    currency: CurrencyCode
    expires_at: AwareDatetime


class OffersRequest(Body):
    """A batch of offers, each id once."""

    offers: Annotated[list[Offer], Field(min_length=1, max_length=MOST_OFFERS), AfterValidator(_unique)]


class OfferAnswer(BaseModel):
    """What became of an offer. locked: it has been booked, so its price and attributes were left as they are."""

    id: str
    status: str
    campaigns: list[UUID]


class OffersAnswer(BaseModel):
    """Per offer, in the order sent, the campaigns that it matched."""

    offers: list[OfferAnswer]
