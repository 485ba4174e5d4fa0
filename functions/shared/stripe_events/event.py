"""A Stripe event, as far as we read it."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

LAST_SECOND = 253_402_300_799
"""The end of year 9999, the last that a datetime can hold."""


class EventData(BaseModel):
    """The object that the event is about, as Stripe sent it."""

    object: dict[str, Any]


class Event(BaseModel):
    """The envelope of an event (https://docs.stripe.com/api/events/object), as far as we read it."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    id: Annotated[str, Field(pattern="^evt_[!-~]{1,250}$")]
    type: Annotated[str, Field(pattern="^[!-~]{1,100}$")]
    api_version: Annotated[str, Field(pattern="^[!-~]{1,64}$")] | None
    livemode: bool
    created: Annotated[int, Field(ge=0, le=LAST_SECOND)]
    data: EventData

    @property
    def object_id(self) -> str:
        """The id of the object. Raises ValueError where Stripe has given it none, or what can't be one."""
        return stripe_id(self.data.object.get("id"))


def stripe_id(value: object) -> str:
    """A value that is to be an id of Stripe's: at most 255 characters. Raises ValueError for anything else.

    Visible ASCII and not only what Stripe makes itself, as an account may hold Customers with ids of its own choice.
    https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backward-compatible
    """
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,255}", value):
        raise ValueError("is no id")
    return value
