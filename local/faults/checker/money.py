"""Money at Stripe against bookings, both ways (invariants 1, 3 and 5)."""

from collections import Counter
from collections.abc import Iterator

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import DEAD, GIVEN_BACK, OPEN_ATTEMPT, TAKEN, View

_INTENT_MAY_BE: dict[str, frozenset[str]] = {
    "charging": frozenset({"processing"}),
    "requires_action": frozenset({"requires_action", "requires_payment_method"}),
    "retry_scheduled": frozenset({"requires_payment_method"}),
    "authorized": frozenset({"requires_capture"}),
    "confirmed": frozenset({"succeeded"}),
    "refunded": frozenset({"succeeded"}),
    "failed": frozenset({"canceled", "succeeded"}),
    "cancelled": frozenset({"canceled", "succeeded"}),
}
"""At rest. A dead booking's may have succeeded only if the money has been given back, which another rule looks at."""


def one_payment_intent(view: View) -> Iterator[Breach]:
    """Both ways: what the metadata name, and what the bookings know."""
    for booking_id, intents in view.intents_of.items():
        booking = view.bookings.get(booking_id)
        if len(intents) > 1 and booking_id:
            names = ", ".join(f"{row['id']} ({row['status']})" for row in intents)
            yield Breach("one_payment_intent", booking_id, f"has {len(intents)} PaymentIntents at Stripe: {names}")
        for intent in intents:
            if booking is None:
                detail = f"{intent['status']}, {intent['amount']} {intent['currency']}, names no booking of ours"
                yield Breach("money_without_booking", intent["id"], f"{detail}: {booking_id or 'no metadata'}")
            elif booking["stripe_payment_intent_id"] != intent["id"]:
                detail = f"is {booking['status']} and knows {booking['stripe_payment_intent_id']}, not {intent['id']}"
                yield Breach("one_payment_intent", booking_id, f"{detail} ({intent['status']})")
    for booking in view.bookings.values():
        known = booking["stripe_payment_intent_id"]
        if known is not None and known not in view.intents:
            yield Breach("one_payment_intent", booking["id"], f"knows {known}, which Stripe does not")


def one_charge(view: View) -> Iterator[Breach]:
    """A charge that holds money counts as successful, as it does at Stripe."""
    for intent_id, charges in view.charges_of.items():
        taken = [row["id"] for row in charges if row["status"] == "succeeded"]
        if len(taken) > 1:
            yield Breach("one_charge", intent_id, f"was charged {len(taken)} times: {', '.join(taken)}")
    for booking_id, attempts in view.attempts.items():
        alive = [row["id"] for row in attempts if row["status"] in OPEN_ATTEMPT | {"succeeded"}]
        if len(alive) > 1:
            yield Breach("one_charge", booking_id, f"has {len(alive)} attempts open or succeeded: {', '.join(alive)}")
        named = Counter(charge for row in attempts for charge in row["stripe_charge_ids"])
        for charge, times in named.items():
            if times > 1:
                yield Breach("one_charge", booking_id, f"{charge} is on {times} attempts")


def one_booking(view: View) -> Iterator[Breach]:
    """The database's unique key says the same; it is not trusted here."""
    counts = Counter((row["campaign_id"], row["offer_id"]) for row in view.bookings.values())
    for (campaign, offer), times in counts.items():
        if times > 1:
            yield Breach("one_booking", campaign, f"booked offer {offer} {times} times")


def price(view: View) -> Iterator[Breach]:
    """The offer's row is the price; the caller's word never was."""
    for booking in view.bookings.values():
        offer = view.offers.get(booking["offer_id"])
        costs = (booking["amount_minor"], booking["currency"])
        if offer is None or (offer["amount_minor"], offer["currency"]) != costs:
            asked = "no offer" if offer is None else f"{offer['amount_minor']} {offer['currency']}"
            yield Breach("price", booking["id"], f"costs {costs[0]} {costs[1]}, its offer says {asked}")
        intent = view.intents.get(booking["stripe_payment_intent_id"])
        if intent is not None and (intent["amount"], intent["currency"]) != costs:
            detail = f"{intent['id']} is of {intent['amount']} {intent['currency']}, not {costs[0]} {costs[1]}"
            yield Breach("price", booking["id"], detail)


def money(view: View) -> Iterator[Breach]:
    """Each booking against its PaymentIntent and Charges."""
    for booking in view.bookings.values():
        intent = view.intents.get(booking["stripe_payment_intent_id"])
        if intent is None:
            if booking["status"] in TAKEN:
                yield Breach("booking_without_money", booking["id"], f"is {booking['status']} without a PaymentIntent")
            elif booking["status"] not in DEAD:
                yield Breach("payment_state", booking["id"], f"rests as {booking['status']} without a PaymentIntent")
            continue
        yield from _against(view, booking, intent)


def _against(view: View, booking: Row, intent: Row) -> Iterator[Breach]:
    status, at_stripe = booking["status"], f"its {intent['id']} is {intent['status']}"
    if status in TAKEN and intent["status"] != "succeeded":
        yield Breach("booking_without_money", booking["id"], f"is {status}, {at_stripe}")
    elif intent["status"] == "succeeded" and status not in TAKEN | DEAD:
        yield Breach("money_without_booking", booking["id"], f"is {status}, {at_stripe}")
    elif intent["status"] not in _INTENT_MAY_BE[status]:
        yield Breach("payment_state", booking["id"], f"is {status}, {at_stripe}")
    captured = view.captured(intent["id"])
    if captured != booking["amount_captured_minor"]:
        detail = f"says {booking['amount_captured_minor']} captured, Stripe captured {captured}"
        yield Breach("captured", booking["id"], detail)
    if captured and (status in DEAD or booking["id"] in view.called_off):
        yield from _given_back(view, booking, intent["id"], captured)
    if (
        captured
        and status in TAKEN
        and not any(row["status"] == "succeeded" for row in view.attempts.get(booking["id"], ()))
    ):
        yield Breach("captured", booking["id"], f"is {status} without a succeeded attempt")
    holds = [
        row["id"]
        for row in view.charges_of.get(intent["id"], ())
        if row["status"] == "succeeded" and not row["captured"] and not row["refunded"]
    ]
    if holds and status != "authorized":
        yield Breach("payment_state", booking["id"], f"is {status} and {', '.join(holds)} still holds money")


def _given_back(view: View, booking: Row, intent_id: str, captured: int) -> Iterator[Breach]:
    refunds = view.stripe_refunds_of.get(intent_id, ())
    back = sum(row["amount"] for row in refunds if row["status"] in GIVEN_BACK)
    bank_refused = any(row["status"] == "failed" for row in refunds)
    # Of a charge that is disputed Stripe refunds nothing: the bank has taken the money back already.
    disputed = any(row["payment_intent"] == intent_id for row in view.stripe("disputes"))
    # Whoever gives a part back in Stripe's dashboard while our refund of the whole is on its way gets ours refused.
    by_hand = any(not row["metadata"].get("refund_id") for row in refunds)
    # What the bank sent back or Stripe refused is a person's to mend: the incident says so.
    incident = any(
        row["kind"] == "refund_failed" and row["booking_id"] == booking["id"] for row in view.rows["incidents"]
    )
    if back != captured and not ((bank_refused or disputed or by_hand) and incident):
        wish = " though it was called off" if booking["id"] in view.called_off else ""
        detail = f"is {booking['status']}{wish}, Stripe took {captured} and {back} of it is given back"
        yield Breach("money_without_booking", booking["id"], detail)


def refunds(view: View) -> Iterator[Breach]:
    """Ours against Stripe's."""
    at_stripe = {row["id"]: row for row in view.stripe("refunds")}
    for refund in view.rows["refunds"]:
        made = at_stripe.get(refund["stripe_refund_id"])
        if made is None:
            if refund["status"] not in {"failed", "canceled"}:
                yield Breach("refunds", refund["id"], f"is {refund['status']}, and Stripe has none")
            continue
        said = (refund["status"], refund["amount_minor"], refund["currency"])
        if said != (made["status"], made["amount"], made["currency"]):
            detail = f"is {said}, {made['id']} is {(made['status'], made['amount'], made['currency'])}"
            yield Breach("refunds", refund["id"], detail)
        booking = view.bookings.get(refund["booking_id"])
        if booking is None or booking["stripe_payment_intent_id"] != made["payment_intent"]:
            yield Breach("refunds", refund["id"], f"{made['id']} is of another payment: {made['payment_intent']}")


def stripe_refunds(view: View) -> Iterator[Breach]:
    """Stripe's against ours, and each of ours made once."""
    ours = {row["stripe_refund_id"] for row in view.rows["refunds"]}
    for intent_id, made_there in view.stripe_refunds_of.items():
        for made in made_there:
            if made["id"] not in ours:
                detail = f"{made['amount']} {made['currency']}, {made['status']}, of {intent_id}: no refund of ours"
                yield Breach("refunds", made["id"], detail)
        ids = Counter((row.get("metadata") or {}).get("refund_id") for row in made_there)
        for refund_id, times in ids.items():
            if refund_id and times > 1:
                yield Breach("refunds", refund_id, f"was made {times} times at Stripe, of {intent_id}")


def refund_totals(view: View) -> Iterator[Breach]:
    """Pending counts as given back."""
    for booking in view.bookings.values():
        counted = [row["amount_minor"] for row in view.refunds.get(booking["id"], ()) if row["status"] in GIVEN_BACK]
        said, captured = booking["amount_refunded_minor"], booking["amount_captured_minor"]
        if said != sum(counted):
            yield Breach("refund_totals", booking["id"], f"says {said} refunded, its refunds add up to {sum(counted)}")
        if said > captured:
            yield Breach("refund_totals", booking["id"], f"gave back {said} of {captured}")
        if booking["status"] in TAKEN and (booking["status"] == "refunded") != (said >= captured):
            yield Breach("refund_totals", booking["id"], f"is {booking['status']} with {said} of {captured} given back")
