"""The life of one payment, played on the stand-ins, and the end state that it must have however its news travel."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import stripe
from psycopg.rows import dict_row

from tests.support.aftermath import PASSING, SETTLE, Page, column, move_into_the_past
from tests.support.http import Caller, ok
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import VISA, Json, Traveller, in_time
from tests.support.waiting import until

LATE_MILLISECONDS = 1500
"""How much later than Stripe's answer a late function commits it."""

_STATE = """
    select
      (
        select jsonb_agg(jsonb_build_array(
          b.status, b.closing_as, b.failure_code, b.user_message, b.amount_captured_minor, b.amount_refunded_minor,
          b.status = 'authorized' and b.capture_before is not null, b.disputed_at is not null,
          b.fraud_warned_at is not null, b.under_review_since is not null, b.stripe_payment_intent_id is not null
        ) order by b.created_at, b.id)
        from public.bookings as b where b.user_id = u.id
      ) as bookings,
      (
        select jsonb_agg(jsonb_build_array(
          a.status, a.user_message, cardinality(a.stripe_charge_ids),
          case when a.status not in ('succeeded', 'authorized') then array[
            a.category, a.decline_code, a.is_fraud::text, a.outcome_reason, a.network_decline_code, a.advice_code
          ] end
        ) order by a.ordinal)
        from public.attempts as a where a.user_id = u.id
      ) as attempts,
      (
        select jsonb_agg(jsonb_build_array(
          c.status, c.pause_reason, c.reserved_minor, c.spent_minor, c.bookings_in_flight, c.bookings_confirmed, p.last4
        ) order by c.created_at, c.id)
        from public.campaigns as c left join public.payment_methods as p on c.payment_method_id = p.id
        where c.user_id = u.id
      ) as campaigns,
      (
        select jsonb_agg(jsonb_build_array(
          p.last4, p.status, p.unusable_reason, p.is_default, p.backup_position,
          case when p.status <> 'detached' then p.exp_year * 12 + p.exp_month end
        ) order by p.created_at, p.id)
        from public.payment_methods as p where p.user_id = u.id
      ) as cards,
      (
        select jsonb_agg(jsonb_build_array(
          r.status, r.amount_minor, r.reason, r.failure_reason
        ) order by r.created_at, r.id)
        from public.refunds as r where r.user_id = u.id
      ) as refunds,
      (
        select jsonb_agg(jsonb_build_array(
          d.status, d.reason, d.funds_withdrawn, d.closed_at is not null
        ) order by d.id)
        from public.disputes as d where d.user_id = u.id
      ) as disputes,
      (select jsonb_agg(k.deleted_at is not null) from public.customers as k where k.user_id = u.id) as customer,
      (
        select jsonb_agg(jsonb_build_array(s.status, s.payment_method_id is not null) order by s.created_at, s.id)
        from public.setup_intents as s where s.user_id = u.id
      ) as setups,
      (
        select jsonb_agg(i.kind order by i.kind)
        from public.incidents as i inner join public.bookings as b on i.booking_id = b.id where b.user_id = u.id
      ) as incidents,
      (select jsonb_agg(distinct n.kind) from public.notifications as n where n.user_id = u.id) as told
    from auth.users as u where u.id = %s
"""


def state(traveller: Traveller) -> Json:
    """All that is decided about a traveller: rows by kind, without their ids, their times and what is over.

    Kinds of messages, each once, those about passing states left out: who learns that a refund has failed before
    learning that it was made is told of the failure alone.
    """
    with traveller.db.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_STATE, [traveller.id]).fetchone()
    assert row is not None
    told = set(row["told"] or ()) - PASSING
    return row | {"told": sorted(told - {"refund_issued"} if "refund_failed" in told else told)}


@dataclass
class Scene:
    """A traveller with a card and a campaign, and the others who act in a payment's life."""

    traveller: Traveller
    page: Page
    machine: Caller
    supabase: SupabaseSide
    card: Json = field(default_factory=dict)
    campaign: Json = field(default_factory=dict)
    booking: Json = field(default_factory=dict)
    answer_is_lost: bool = False
    """Whether the database is gone when the charging function wants to commit what Stripe answered."""
    answer_is_late: bool = False
    """Whether it commits that answer only after the webhooks have committed theirs; `finish` waits for it."""
    live: bool = True
    """Whether webhooks arrive meanwhile; otherwise the test delivers them later."""
    notes: Json = field(default_factory=dict)
    _function: Thread | None = None

    @property
    def sdk(self) -> stripe.StripeClient:
        """The dashboard."""
        return self.traveller.stripe.sdk

    def between(self) -> None:
        """Let what Stripe has told so far arrive, if anything arrives."""
        if self.live:
            self.traveller.stripe.flush()

    def set_up(
        self, card: str = VISA, *, backup: str | None = None, behaviour: Json | None = None, **campaign: Any
    ) -> None:
        """Save cards, open a campaign, and let the bank be as it is to be."""
        self.card = self.traveller.save_card(card)
        if backup is not None:
            self.traveller.save_card(backup)
        if behaviour is not None:
            self.traveller.stripe.change_card(self.traveller.stripe_id(self.card), **behaviour)
        self.campaign = self.traveller.open_campaign(**campaign)
        self.traveller.stripe.flush()

    def charge(self) -> None:
        """Charge a new offer."""
        offer = self.traveller.offer(expires_at=in_time(days=20))
        if self.answer_is_late:
            self._charge_meanwhile(offer)
            return
        if self.answer_is_lost:
            self.supabase.fault(SETTLE, "drop_connection", times=2)  # committing is tried twice
        answer = self.traveller.charge(self.campaign, offer)
        found = answer.json()
        self.booking = found["booking"] if answer.status_code == 402 else found
        if self.answer_is_lost:
            assert (answer.status_code, self.booking["status"]) == (202, "charging")
            self.supabase.heal()
        self.between()

    def _charge_meanwhile(self, offer: Json) -> None:
        self.supabase.fault(SETTLE, f"delay_ms:{LATE_MILLISECONDS}")
        self._function = Thread(target=self.traveller.charge, args=(self.campaign, offer))
        self._function.start()
        until(lambda: self.traveller.stripe.charges(self.traveller.customer_id))
        self.between()
        assert self._function.is_alive(), "the webhooks were to be faster than the function"
        self.booking = {
            "id": column(self.traveller, "select id from public.bookings where user_id = %s", self.traveller.id)[0]
        }

    def finish(self) -> None:
        """Wait for the charging function."""
        if self._function is not None:
            self._function.join()

    @property
    def intent_id(self) -> str:
        """The booking's PaymentIntent, as Stripe has it."""
        (intent,) = self.traveller.stripe.intents(self.traveller.customer_id)
        return str(intent["id"])

    def control(self, path: str, body: Json) -> Json:
        """Somebody acts at Stripe (`local.stripe.actors`), and the news go out."""
        result: Json = self.traveller.stripe.control("POST", path, body)
        self.between()
        return result

    def fulfil(self, action: str, body: Json | None = None) -> Json:
        """Fulfilment captures, voids or refunds through our API."""
        done: Json = ok(self.machine.post(f"/bookings/{self.booking['id']}/{action}", body))
        self.between()
        return done

    def authenticate(self, outcome: str) -> None:
        """The cardholder comes to the page."""
        self.page.authenticate(self.traveller, self.booking, self.card, outcome)
        self.between()

    def come(self, name: str) -> None:
        """A moment of the booking comes."""
        move_into_the_past(self.traveller, self.booking, name)


Script = Callable[[Scene], None]
