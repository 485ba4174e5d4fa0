"""A small story really played: a little of everything that can become of a booking, at rest at its end."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg

from local.faults.checker import Snapshot, read_snapshot
from local.stack import LocalStack
from tests.support.aftermath import Page, Reconcile
from tests.support.http import Caller, connection, ok
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, MASTERCARD, VISA, Json, Traveller, in_time


def play(stack: LocalStack) -> Snapshot:
    """Two users, eight bookings, every ending: what the checker reads of it."""
    stripe = StripeSide(stack)
    with connection(stack.api_url) as http, psycopg.connect(stack.database_url, autocommit=True) as db:
        try:
            for plot in (_ada, _ben):
                plot(_traveller(stack, http, stripe, db), Page(stack))
                stripe.flush()
            with cold_functions(stack):
                Reconcile()()
            stripe.flush()
            mails = send_mails(db)
            return read_snapshot(db, stripe.control("GET", "/books"), mails)
        finally:
            stripe.close()


def _traveller(stack: LocalStack, http: httpx.Client, stripe: StripeSide, db: psycopg.Connection) -> Traveller:
    user = stack.users.create(f"user-{uuid4().hex[:12]}@example.com")
    machine = Caller(http, signing_secret=stack.keys.signing_secrets[0])
    return Traveller(user, Caller(http, token=user.access_token), machine, stripe, db)


def _ada(ada: Traveller, page: Page) -> None:
    """Confirmed, refunded in two parts, declined over to a backup, authenticated, declined for good."""
    card = ada.save_card(VISA)
    ada.save_card(MASTERCARD)
    campaign = ada.open_campaign(use_backups=True, budget_minor=90_000, max_bookings=6)
    ada.book(campaign)
    given_back = ada.book(campaign)
    for part in (2_000, 10_000):
        ok(ada.feed.post(f"/bookings/{given_back['id']}/refund", {"amount_minor": part}), 200)
        ada.stripe.flush()
    ada.stripe.change_card(ada.stripe_id(card), "decline", decline_code="do_not_honor")
    ada.book(campaign)
    ada.charge(ada.open_campaign(), ada.offer())


def _ben(ben: Traveller, page: Page) -> None:
    """Authenticated, held and captured in part, held and voided, disputed, warned of."""
    asks = ben.save_card(ASKS_ALWAYS)
    asked: Json = ok(ben.charge(ben.open_campaign(), ben.offer(expires_at=in_time(days=10))), 202)
    page.authenticate(ben, asked, asks, "succeed")
    ben.stripe.flush()
    pays = ben.save_card(VISA)
    holds = ben.open_campaign(capture="manual", payment_method_id=pays["id"])
    for action, body in (("capture", {"amount_minor": 9_000}), ("void", None), (None, None)):
        booking: Json = ok(ben.charge(holds, ben.offer()), 201)
        ben.stripe.flush()
        if action is not None:
            ok(ben.feed.post(f"/bookings/{booking['id']}/{action}", body))
    disputed = ben.booking(asked)
    intent = ben.rows("select stripe_payment_intent_id from public.bookings where id = %s", disputed["id"])[0][0]
    ben.stripe.control("POST", "/disputes", {"payment_intent": intent})
    ben.stripe.control("POST", "/early-fraud-warnings", {"payment_intent": intent})


def send_mails(db: psycopg.Connection) -> list[dict[str, Any]]:
    """What notify does, with a mail provider that always takes the mail."""
    sent = []
    while claimed := _value(db, "select public.claim_notifications(100, 60)")["notifications"]:
        for one in claimed:
            sent.append({"notification_id": one["id"], "to": one["email"]})
            db.execute("select public.settle_notification(%s, %s, 'sent')", [one["id"], one["try"]])
    return sent


def _value(db: psycopg.Connection, query: Any) -> Any:
    row = db.execute(query).fetchone()
    assert row is not None
    return row[0]
