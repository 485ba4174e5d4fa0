"""A Stripe event, as far as we read it."""

from typing import Annotated, Any

from pydantic import BaseModel, Field


class EventData(BaseModel):
    """The object that the event is about, as Stripe sent it."""

    object: dict[str, Any]


class Event(BaseModel):
    """The envelope of an event (https://docs.stripe.com/api/events/object), as far as we read it."""

    id: Annotated[str, Field(pattern="^evt_")]
    type: str
    api_version: str | None
    livemode: bool
    created: int
    data: EventData
