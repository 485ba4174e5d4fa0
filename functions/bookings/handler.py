"""Bookings: what users see of theirs, and how a cardholder finishes an authentication that the bank asked for."""

from functools import partial
from typing import Any

from functions.bookings.requests import carry_out
from functions.bookings.schemas import Authentication, CaptureRequest, RefundRequest
from functions.shared import auth, database
from functions.shared.database import Database
from functions.shared.paging import ListQuery, list_newest_first, uuid_of
from functions.shared.problems import Problem
from functions.shared.schemas import BookingList, BookingView, ProblemDocument
from functions.shared.settings import (
    MachineSettings,
    PublishableSettings,
    StripeSettings,
    UserSettings,
    function_settings,
    read,
)
from functions.shared.states import BookingStatus
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Api, Call, NoQuery

COLUMNS = ",".join(BookingView.model_fields)

api = Api("bookings")
for group in (UserSettings, StripeSettings, PublishableSettings, MachineSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "bookings"))


@api.operation("GET", "/bookings", who="user", query=ListQuery, answers={200: BookingList})
def list_bookings(call: Call[None, ListQuery]) -> Answer:
    """The caller's bookings, newest first."""
    return Answer(200, list_newest_first(_of_caller(call), "booking_view", call.query, COLUMNS))


@api.operation("GET", "/bookings/{id}", who="user", answers={200: BookingView, 404: ProblemDocument})
def show(call: Call[None, NoQuery]) -> Answer:
    """One booking of the caller, with its attempts."""
    return Answer(200, _booking(call, "booking_view", COLUMNS))


@api.operation(
    "GET",
    "/bookings/{id}/authentication",
    who="user",
    answers={200: Authentication, 404: ProblemDocument, 409: ProblemDocument},
)
def authentication(call: Call[None, NoQuery]) -> Answer:
    """What Stripe.js needs to let the cardholder authenticate on the booking's own PaymentIntent."""
    booking = _booking(call, "bookings", "id,status,action_expires_at,stripe_payment_intent_id")
    if booking["status"] != BookingStatus.REQUIRES_ACTION:
        raise Problem("not_awaiting_authentication")
    return Answer(
        200,
        {
            "client_secret": gateway().client_secret(booking["stripe_payment_intent_id"]),
            "publishable_key": read(PublishableSettings).stripe_publishable_key,
            "expires_at": booking["action_expires_at"],
        },
    )


@api.operation(
    "POST",
    "/bookings/{id}/cancel",
    who="user",
    answers={200: BookingView, 202: BookingView, 404: ProblemDocument, 409: ProblemDocument},
)
def cancel(call: Call[None, NoQuery]) -> Answer:
    """Call off a booking that is not made yet; if its payment succeeds all the same, it is given back."""
    return carry_out(call, "begin_cancel", p_booking_id=_id(call), p_user_id=str(auth.user(call).id))


_FULFILMENT = {200: BookingView, 202: BookingView, 404: ProblemDocument, 409: ProblemDocument}


@api.operation("POST", "/bookings/{id}/capture", who="machine", body=CaptureRequest, answers=_FULFILMENT)
def capture(call: Call[CaptureRequest, NoQuery]) -> Answer:
    """Fulfilled: take the held money, all of it or a part."""
    auth.machine(call)
    return carry_out(call, "begin_capture", p_booking_id=_id(call), p_amount_minor=call.body.amount_minor)


@api.operation("POST", "/bookings/{id}/void", who="machine", answers=_FULFILMENT)
def void(call: Call[None, NoQuery]) -> Answer:
    """Not fulfilled: release the hold."""
    auth.machine(call)
    return carry_out(call, "begin_void", p_booking_id=_id(call))


@api.operation("POST", "/bookings/{id}/refund", who="machine", body=RefundRequest, answers=_FULFILMENT)
def refund(call: Call[RefundRequest, NoQuery]) -> Answer:
    """Give money back. The same request is the same refund; to give the same amount twice, name an Idempotency-Key."""
    auth.machine(call)
    return carry_out(
        call,
        "begin_refund",
        p_booking_id=_id(call),
        p_amount_minor=call.body.amount_minor,
        p_reason=call.body.reason,
        p_idempotency_key=call.idempotency_key,
    )


def _of_caller(call: Call[Any, Any]) -> Database:
    return database.as_user(auth.user(call).token, call.request_id)


def _id(call: Call[Any, Any]) -> str:
    return str(uuid_of(call.path["id"], "booking_not_found"))


def _booking(call: Call[Any, Any], table: str, columns: str) -> dict[str, Any]:
    rows = _of_caller(call)
    found = rows.rows(rows.table(table).select(columns).eq("id", _id(call)))
    if not found:
        raise Problem("booking_not_found")
    return found[0]


handler = api.handler()
