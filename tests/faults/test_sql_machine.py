"""The SQL state machines in any order: begin, Stripe, settle, events, capture, void, refund, dispute, time.

Hypothesis plays the callers, the network and the bank. Whatever it does, at the end everything is brought to rest as
reconcile would, and the checker compares the books. HYPOTHESIS_EXAMPLES=2000 looks longer.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, Literal

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from local.stripe import actors
from tests.faults.books_at_rest import PUBLISHABLE_KEY, STRIPE_STEPS, Call, Json, Stage, Wires, simulated
from tests.faults.machines import bounded

Outcome = Literal["succeed", "fail", "abandon"]
Fate = Literal["goes well", "is under way", "answer lost"]
FATES: tuple[Fate, ...] = ("goes well", "is under way", "answer lost")
OFFER_LIFE = timedelta(days=20)
ANY = st.integers(min_value=0, max_value=11)
FAULTS = st.sampled_from(
    [None, None, None, "drop_before", "drop_after", "error_before", "error_after", "rate_limit", "lock_timeout"]
)
MOODS = st.sampled_from(
    [
        {"behaviour": "heal"},
        {"behaviour": "decline", "decline_code": "do_not_honor"},
        {"behaviour": "decline", "decline_code": "insufficient_funds"},
        {"behaviour": "decline", "decline_code": "expired_card"},
        {"behaviour": "decline", "decline_code": "stolen_card"},
        {"behaviour": "authentication_required"},
        {"behaviour": "processing", "seconds": 600},
        {"behaviour": "processing", "seconds": 600, "then": "do_not_honor"},
        {"behaviour": "radar_block"},
    ]
)


class Payments(RuleBasedStateMachine):
    """One user's payments; `Stage` says what there is."""

    surroundings: ClassVar[tuple[psycopg.Connection, Wires]]

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(*self.surroundings)
        self.pairs: list[tuple[str, str]] = []
        self.booking_of: dict[tuple[str, str], str] = {}
        self.calls: list[Call] = []
        self.away_hours, self.news_first = 2.0, True

    # --- helpers -----------------------------------------------------------------------------------------------------

    def take(self, role: str, answer: Json) -> None:
        """A function got its next step; what is none of Stripe's ends it."""
        step = answer.get("next")
        if step is not None and step["do"] in STRIPE_STEPS:
            self.calls.append(Call(role, step))

    def ask(self, role: str, function: str, **arguments: Any) -> Json:
        """Call SQL as a function does; a refusal (PTnnn) is an answer too."""
        try:
            answer: Json = self.stage.function(role).call(function, **arguments)
        except psycopg.Error as refusal:
            if not (refusal.sqlstate or "").startswith("PT"):
                raise
            return {}
        self.take(role, answer)
        return answer

    def booking(self, number: int) -> str | None:
        """One of the bookings, if there is any."""
        known = list(self.booking_of.values())
        return known[number % len(known)] if known else None

    def intent(self, number: int, *statuses: str) -> Json | None:
        """One of the PaymentIntents in these states."""
        found = [row for row in self.stage.world.payment_intents if row["status"] in statuses]
        return found[number % len(found)] if found else None

    # --- charging ----------------------------------------------------------------------------------------------------

    @initialize(
        amounts=st.lists(st.sampled_from([9_000, 20_000]), min_size=1, max_size=3),
        campaign=st.integers(0, 1),
        away_hours=st.sampled_from([2, 26]),
        news_first=st.booleans(),
    )
    def some_offers_are_charged(self, amounts: list[int], campaign: int, away_hours: float, news_first: bool) -> None:
        """And it is decided how long reconcile stays away at the end, and whether it hears Stripe's news first."""
        self.away_hours, self.news_first = away_hours, news_first
        for amount in amounts:
            self.an_offer_is_charged(amount, campaign, FATES[len(self.pairs)])

    @rule(amount=st.sampled_from([9_000, 20_000]), campaign=st.integers(0, 1), fate=st.sampled_from(FATES))
    def an_offer_is_charged(self, amount: int, campaign: int, fate: Fate) -> None:
        offer = self.stage.insert(
            "public.offers",
            id=f"offer-{len(self.pairs)}-{self.stage.user_id}",
            attributes=Jsonb({"of": self.stage.user_id}),
            amount_minor=amount,
            currency="eur",
            expires_at=self.stage.now + OFFER_LIFE,
        )
        self.pairs.append((self.stage.campaigns[campaign], offer))
        self.begin(len(self.pairs) - 1)
        if fate == "goes well":
            self.everybody_finishes()
        elif fate == "answer lost" and self.calls:
            self.stage.ask_stripe(self.calls.pop().step)

    @rule()
    def everybody_finishes(self) -> None:
        """For once nothing goes wrong: every call under way is made and committed."""
        while self.calls:
            call = self.calls.pop()
            if call.facts is None:
                call.facts = self.stage.ask_stripe(call.step)
            self.stage.finish(self.stage.commit(call).get("next"))

    @rule(number=ANY)
    def it_is_charged_again(self, number: int) -> None:
        self.begin(number % len(self.pairs))

    def begin(self, number: int) -> None:
        campaign, offer = self.pairs[number]
        begun = self.ask("charge_booking", "begin_charge", p_campaign_id=campaign, p_offer_id=offer)
        if begun["result"] != "refused":
            booking_id = begun["booking"]["id"]
            assert self.booking_of.setdefault((campaign, offer), booking_id) == booking_id

    @precondition(lambda self: any(call.facts is None for call in self.calls))
    @rule(number=ANY, fault=FAULTS)
    def stripe_is_called(self, number: int, fault: str | None) -> None:
        open_calls = [call for call in self.calls if call.facts is None]
        call = open_calls[number % len(open_calls)]
        if fault is not None:
            self.stage.world.faults.add(fault, times=1)
        call.facts = self.stage.ask_stripe(call.step)
        self.stage.world.faults.clear()

    @precondition(lambda self: any(call.facts is not None for call in self.calls))
    @rule(number=ANY)
    def an_outcome_is_committed(self, number: int) -> None:
        answered = [call for call in self.calls if call.facts is not None]
        call = answered[number % len(answered)]
        self.calls.remove(call)
        self.take(call.role, self.stage.commit(call))

    @precondition(lambda self: self.calls)
    @rule(number=ANY)
    def a_function_dies(self, number: int) -> None:
        """What it knew is lost; somebody else may take the step once its lease has run out."""
        self.calls.pop(number % len(self.calls))
        self.stage.forget_leases()

    @precondition(lambda self: any(call.facts is None for call in self.calls))
    @rule(number=ANY)
    def a_function_comes_to_life_when_all_is_over(self, number: int) -> None:
        """Frozen before its Stripe call, it makes it after everybody else has called its booking off."""
        frozen = [call for call in self.calls if call.facts is None]
        call = frozen[number % len(frozen)]
        self.calls.remove(call)
        self.stage.forget_leases()
        booking_id = call.step["booking_id"]
        self.ask("bookings", "begin_cancel", p_booking_id=booking_id, p_user_id=self.stage.user_id)
        self.everybody_finishes()
        call.facts = self.stage.ask_stripe(call.step)
        self.take(call.role, self.stage.commit(call))

    @rule()
    def leases_run_out(self) -> None:
        """Whoever was slow is not alone any more."""
        self.stage.forget_leases()

    # --- news --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.stage.world.events) > 0)
    @rule(number=st.integers(min_value=0, max_value=60))
    def an_event_arrives(self, number: int) -> None:
        """Any event, at any time, as often as it likes."""
        events = list(self.stage.world.events)
        self.take("webhook", self.stage.deliver(events[-1 - number % len(events)]))

    @rule(number=ANY)
    def reconcile_takes_a_step(self, number: int) -> None:
        due: list[Json] = self.stage.function("reconcile").call("due_bookings", p_limit=100)
        if due:
            step: Json = self.stage.function("reconcile").call(
                "take_step", p_booking_id=due[number % len(due)]["booking_id"]
            )
            self.take("reconcile", {"next": step})

    @rule(hours=st.sampled_from([0.001, 1, 5, 23, 25]))
    def time_passes(self, hours: float) -> None:
        """No invocation lasts an hour: who has not asked Stripe by its deadline does not ask (NotEnoughTime)."""
        if hours >= 1:
            self.calls = [call for call in self.calls if call.facts is not None]
        self.stage.world.advance(hours * 3600)

    # --- users, fulfilment, banks ------------------------------------------------------------------------------------

    @precondition(lambda self: self.booking_of)
    @rule(number=ANY, others_are_slow=st.booleans())
    def the_user_cancels(self, number: int, others_are_slow: bool) -> None:
        """While somebody charges, perhaps somebody so slow that the lease is over: then Stripe is looked up first."""
        if others_are_slow:
            self.stage.forget_leases()
        self.ask("bookings", "begin_cancel", p_booking_id=self.booking(number), p_user_id=self.stage.user_id)

    @precondition(lambda self: self.booking_of)
    @rule(number=ANY, amount=st.sampled_from([None, None, 4_000]))
    def fulfilment_captures(self, number: int, amount: int | None) -> None:
        self.ask("bookings", "begin_capture", p_booking_id=self.booking(number), p_amount_minor=amount)

    @precondition(lambda self: self.booking_of)
    @rule(number=ANY)
    def fulfilment_voids(self, number: int) -> None:
        self.ask("bookings", "begin_void", p_booking_id=self.booking(number))

    @precondition(lambda self: self.booking_of)
    @rule(number=ANY, amount=st.sampled_from([None, 1_000, 4_000]), key=st.sampled_from([None, "one", "two"]))
    def fulfilment_refunds(self, number: int, amount: int | None, key: str | None) -> None:
        wanted = {"p_booking_id": self.booking(number), "p_amount_minor": amount, "p_idempotency_key": key}
        self.ask("bookings", "begin_refund", **wanted)

    @rule(card=st.integers(0, 1), mood=MOODS)
    def a_bank_changes_its_mind(self, card: int, mood: Json) -> None:
        self.stage.change_card(card, **mood)

    @precondition(lambda self: self.intent(0, "requires_action", "requires_payment_method") is not None)
    @rule(number=ANY, card=st.integers(0, 1), outcome=st.sampled_from(["succeed", "fail", "abandon"]))
    def the_cardholder_authenticates(
        self, number: int, card: int, outcome: Literal["succeed", "fail", "abandon"]
    ) -> None:
        """On the page, where any of the cards may be chosen; nobody gets there but for a booking that asks."""
        asked = """
            select stripe_payment_intent_id from public.bookings where status = 'requires_action' and closing_as is null
        """
        may = {intent_id for (intent_id,) in self.stage.rows(asked)}
        intent = self.intent(number, "requires_action", "requires_payment_method")
        if intent is None or intent["id"] not in may:
            return
        form = {"client_secret": intent["client_secret"], "payment_method": self.stage.cards[card]}
        self.stage.post(f"/v1/payment_intents/{intent['id']}/confirm", form, PUBLISHABLE_KEY)
        if intent["status"] == "requires_action":
            self.stage.act(actors.authenticate, actors.Authenticate(intent["id"], outcome))

    @precondition(lambda self: self.intent(0, "succeeded") is not None)
    @rule(number=ANY, what=st.sampled_from(["dispute", "warning", "dashboard refund"]))
    def a_bank_complains(self, number: int, what: str) -> None:
        intent = self.intent(number, "succeeded")
        assert intent is not None
        if what == "dashboard refund":
            self.stage.post("/v1/refunds", {"payment_intent": intent["id"], "amount": 500})
            return
        about = {"payment_intent": intent["id"]}
        known = self.stage.world.disputes if what == "dispute" else self.stage.world.early_fraud_warnings
        if any(row["payment_intent"] == intent["id"] for row in known):
            return
        if what == "dispute":
            self.stage.act(actors.open_dispute, actors.OpenDispute(**about))
        else:
            self.stage.act(actors.warn, actors.Warn(**about))

    @precondition(lambda self: any(row["status"] == "succeeded" for row in self.stage.world.refunds))
    @rule(number=ANY)
    def a_bank_sends_a_refund_back(self, number: int) -> None:
        made = [row for row in self.stage.world.refunds if row["status"] == "succeeded"]
        # What Stripe books for the released part of a hold never was with a bank.
        back = [row for row in made if row["destination_details"]["card"]["type"] != "reversal"]
        if back:
            self.stage.act(actors.settle_refund, actors.SettleRefund("fail"), back[number % len(back)]["id"])

    @precondition(lambda self: any(row["status"] == "needs_response" for row in self.stage.world.disputes))
    @rule(outcome=st.sampled_from(["win", "lose"]))
    def a_dispute_ends(self, outcome: Literal["win", "lose"]) -> None:
        dispute = next(row for row in self.stage.world.disputes if row["status"] == "needs_response")
        self.stage.act(actors.end_dispute, actors.EndDispute(outcome), dispute["id"])

    @rule(number=ANY)
    def the_user_goes_on(self, number: int) -> None:
        """A failed charge pauses its campaign, which its user resumes."""
        self.stage.rows(
            "update public.campaigns set status = 'active', pause_reason = null "
            "where status = 'paused' and pause_reason in ('payment_failed', 'card_unusable') returning id"
        )

    # --- what must always hold ---------------------------------------------------------------------------------------

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        """At Stripe, at every moment: one PaymentIntent a booking, one success a PaymentIntent."""
        intents = [row["metadata"]["booking_id"] for row in self.stage.world.payment_intents]
        assert len(intents) == len(set(intents))
        taken = [row["payment_intent"] for row in self.stage.world.charges if row["status"] == "succeeded"]
        assert len(taken) == len(set(taken))

    def teardown(self) -> None:
        """Everybody goes home, reconcile runs to rest, and the books are compared."""
        self.calls.clear()
        self.stage.world.faults.clear()
        self.stage.come_to_rest(self.away_hours, news_first=self.news_first)
        assert [str(breach) for breach in self.stage.breaches()] == []


@pytest.fixture
def _surroundings(fresh_database_url: str) -> Iterator[None]:
    with simulated(fresh_database_url) as Payments.surroundings:
        yield


@pytest.mark.usefixtures("_surroundings")
def test_any_order_of_things_ends_with_sound_books() -> None:
    run_state_machine_as_test(Payments, settings=bounded(examples=70, steps=30))
