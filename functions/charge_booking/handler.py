"""POST /charge-booking: book an offer for a campaign now, on the saved card, with nobody at the screen.

Calling it twice is calling it once: a campaign and an offer have one booking, and that one PaymentIntent. The queue's
handler does the same for matches of automatic campaigns, one message each.
"""

from functools import partial
from typing import Any

from functions.charge_booking.queue import handle_records
from functions.charge_booking.schemas import ChargeRequest
from functions.shared import auth, charging, database
from functions.shared.problems import Problem
from functions.shared.schemas import BookingView, ProblemDocument
from functions.shared.settings import MachineSettings, StripeSettings, UserSettings, function_settings, read
from functions.shared.states import BookingStatus
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Api, Call, NoQuery

api = Api("charge-booking")
for group in (UserSettings, StripeSettings, MachineSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "charge_booking"))

DONE = {BookingStatus.CONFIRMED, BookingStatus.AUTHORIZED}


@api.operation(
    "POST",
    "/charge-booking",
    who="either",
    body=ChargeRequest,
    answers={
        200: BookingView,
        201: BookingView,
        202: BookingView,
        402: ProblemDocument,
        404: ProblemDocument,
        409: ProblemDocument,
    },
)
def charge_booking(call: Call[ChargeRequest, NoQuery]) -> Answer:
    """201 booked, 202 not settled yet, 402 declined for good, 200 when it had been begun before."""
    user = auth.user_or_machine(call)
    charged = charging.charge(
        database.as_function("charge_booking", call.request_id),
        gateway(),
        call.deadline,
        campaign_id=call.body.campaign_id,
        offer_id=call.body.offer_id,
        user_id=user.id if user else None,
    )
    if charged["result"] == "refused":
        raise Problem(charged["refusal"])
    return _answer(charged["booking"], repeated=charged["result"] == "exists")


def _answer(booking: dict[str, Any], *, repeated: bool) -> Answer:
    status = BookingStatus(booking["status"])
    if status is BookingStatus.CHARGING:
        return Answer(202, booking)
    if repeated:
        return Answer(200, booking)
    if status in DONE:
        return Answer(201, booking)
    if status is BookingStatus.FAILED:
        raise Problem("payment_failed", user_message=booking["user_message"], booking=booking)
    return Answer(202, booking)


queue_handler = handle_records
handler = api.handler()
