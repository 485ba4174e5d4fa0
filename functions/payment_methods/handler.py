"""Saved cards: list, arrange, detach. The card itself is at Stripe; here is what a page may show of it."""

from functools import partial
from typing import Any
from uuid import UUID

from functions.payment_methods.schemas import Arrangement
from functions.shared import auth, database
from functions.shared.paging import ListQuery, list_newest_first, uuid_of
from functions.shared.schemas import PaymentMethodList, PaymentMethodView, ProblemDocument
from functions.shared.settings import StripeSettings, UserSettings, function_settings, read
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Api, Call, NoQuery

COLUMNS = ",".join(PaymentMethodView.model_fields)

api = Api("payment-methods")
for group in (UserSettings, StripeSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "payment_methods"))


@api.operation("GET", "/payment-methods", who="user", query=ListQuery, answers={200: PaymentMethodList})
def list_cards(call: Call[None, ListQuery]) -> Answer:
    """The caller's saved cards, newest first; detached ones are gone."""
    rows = database.as_user(auth.user(call).token, call.request_id)
    return Answer(200, list_newest_first(rows, "payment_methods", call.query, COLUMNS, status=("usable", "unusable")))


@api.operation(
    "PATCH",
    "/payment-methods/{id}",
    who="user",
    body=Arrangement,
    answers={200: PaymentMethodView, 404: ProblemDocument, 409: ProblemDocument},
)
def arrange(call: Call[Arrangement, NoQuery]) -> Answer:
    """Make a card the default or place it in the backup chain."""
    rows = database.as_user(auth.user(call).token, call.request_id)
    card = rows.call(
        "arrange_payment_method",
        p_id=str(_id(call)),
        p_is_default=call.body.is_default,
        p_backup_position=call.body.backup_position,
    )
    return Answer(200, card)


@api.operation(
    "DELETE",
    "/payment-methods/{id}",
    who="user",
    answers={204: None, 404: ProblemDocument, 409: ProblemDocument},
)
def detach(call: Call[None, NoQuery]) -> Answer:
    """Detach a card for good. First nothing is charged to it any more, then Stripe lets go of it; safe to repeat."""
    user = auth.user(call)
    begun = database.as_user(user.token, call.request_id).call("begin_detach", p_id=str(_id(call)))
    gateway().detach_payment_method(begun["stripe_payment_method_id"])
    database.as_function("payment_methods", call.request_id).call(
        "finish_detach", p_stripe_payment_method_id=begun["stripe_payment_method_id"]
    )
    return Answer(204, None)


def _id(call: Call[Any, Any]) -> UUID:
    return uuid_of(call.path["id"], "payment_method_not_found")


handler = api.handler()
