"""SetupIntents: a user saves a card, 3D Secure included, so that it may be charged off-session later.

https://docs.stripe.com/payments/save-and-reuse
"""

from functools import partial
from typing import Any
from uuid import uuid4

from functions.setup_intent.schemas import SetupRequest, SetupResult, SetupView
from functions.shared import auth, database
from functions.shared.auth import User
from functions.shared.database import Database
from functions.shared.problems import Problem
from functions.shared.schemas import ProblemDocument
from functions.shared.settings import (
    PublishableSettings,
    StripeSettings,
    UserSettings,
    function_settings,
    read,
)
from functions.shared.stripe_facts import setup_intent_facts
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Api, Call, NoQuery

api = Api("setup-intent")
for group in (UserSettings, StripeSettings, PublishableSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "setup_intent"))


@api.operation("POST", "/setup-intent", who="user", body=SetupRequest, answers={201: SetupView, 409: ProblemDocument})
def create(call: Call[SetupRequest, NoQuery]) -> Answer:
    """Begin to save a card; the user's Stripe Customer is made on first use. Idempotent by Idempotency-Key."""
    user = auth.user(call)
    rows = database.as_user(user.token, call.request_id)
    customer_id = _customer(user, rows)
    intent = gateway().create_setup_intent(
        customer_id,
        user.id,
        call.body.consent.terms_version,
        idempotency_key=f"setup-intent:{user.id}:{call.idempotency_key or uuid4()}",
    )
    database.as_function("setup_intent", call.request_id).call(
        "record_setup_intent",
        p_user_id=str(user.id),
        p_email=user.email,
        p_stripe_customer_id=customer_id,
        p_setup_intent_id=intent["id"],
        p_status=intent["status"],
        p_terms_version=call.body.consent.terms_version,
    )
    return Answer(
        201,
        {
            "id": intent["id"],
            "client_secret": intent["client_secret"],
            "publishable_key": read(PublishableSettings).stripe_publishable_key,
            "status": intent["status"],
        },
    )


def _customer(user: User, rows: Database) -> str:
    known = rows.rows(
        rows.table("customers").select("stripe_customer_id,generation,deleted_at").eq("user_id", str(user.id))
    )
    if not known:
        return gateway().create_customer(user.id, user.email, generation=1)
    if known[0]["deleted_at"]:
        return gateway().create_customer(user.id, user.email, generation=known[0]["generation"] + 1)
    return str(known[0]["stripe_customer_id"])


@api.operation("GET", "/setup-intent/{id}", who="user", answers={200: SetupResult, 404: ProblemDocument})
def show(call: Call[None, NoQuery]) -> Answer:
    """Where a set-up stands at Stripe now; a succeeded one is saved at once, the webhook may be later."""
    user = auth.user(call)
    rows = database.as_user(user.token, call.request_id)
    setup_intent_id = call.path["id"]
    if not rows.rows(rows.table("setup_intents").select("id").eq("id", setup_intent_id)):
        raise Problem("setup_intent_not_found")
    facts = setup_intent_facts(gateway().retrieve_setup_intent(setup_intent_id))
    settled: dict[str, Any] = database.as_function("setup_intent", call.request_id).call(
        "settle_setup_intent", p_facts=facts
    )
    return Answer(200, {name: settled[name] for name in SetupResult.model_fields if name in settled})


handler = api.handler()
