"""Whose everything is, and cards here against cards at Stripe."""

from collections import defaultdict
from collections.abc import Iterator

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import View


def ownership_of_bookings(view: View) -> Iterator[Breach]:
    """From the booking outwards: campaign, attempts' cards, the PaymentIntent's Customer, the Charges' cards."""
    for booking in view.bookings.values():
        owner = booking["user_id"]
        campaign = view.campaigns.get(booking["campaign_id"])
        if campaign is None or campaign["user_id"] != owner:
            yield Breach("ownership", booking["id"], f"is {owner}'s, its campaign is not")
        for attempt in view.attempts.get(booking["id"], ()):
            card = view.cards.get(attempt["payment_method_id"])
            if card is None or card["user_id"] != owner or attempt["user_id"] != owner:
                yield Breach(
                    "ownership", booking["id"], f"attempt {attempt['id']} charges a card that is not {owner}'s"
                )
        intent = view.intents.get(booking["stripe_payment_intent_id"])
        if intent is None:
            continue
        if intent["customer"] not in _customers_of(view, owner):
            yield Breach(
                "ownership", booking["id"], f"{intent['id']} is of Customer {intent['customer']}, not {owner}'s"
            )
        for charge in view.charges_of.get(intent["id"], ()):
            card = view.cards_at_stripe.get(charge["payment_method"])
            if charge["customer"] != intent["customer"] or (card is not None and card["user_id"] != owner):
                detail = f"{charge['id']} is of {charge['customer']} by {charge['payment_method']}, not {owner}'s"
                yield Breach("ownership", booking["id"], detail)


def ownership_of_campaigns(view: View) -> Iterator[Breach]:
    """A campaign charges its owner's card."""
    for campaign in view.campaigns.values():
        card = view.cards.get(campaign["payment_method_id"])
        if card is not None and card["user_id"] != campaign["user_id"]:
            yield Breach("ownership", campaign["id"], f"is to charge {card['id']}, a card of {card['user_id']}")


def _customers_of(view: View, user_id: str) -> set[str]:
    """The user's Customer now and those of before: one that was deleted keeps its payments."""
    found = {row["id"] for row in view.stripe("customers") if (row.get("metadata") or {}).get("user_id") == user_id}
    known = view.customers.get(user_id)
    gone = {row["id"] for row in view.stripe("customers") if row.get("deleted")}
    others = {row["stripe_customer_id"] for row in view.rows["customers"] if row["user_id"] != user_id}
    return found | (gone - others) | ({known["stripe_customer_id"]} if known else set())


def one_customer(view: View) -> Iterator[Breach]:
    """Our row names the living one."""
    living: dict[str, list[str]] = defaultdict(list)
    at_stripe = {row["id"]: row for row in view.stripe("customers")}
    # One without a card may be left over by a first set-up that died (docs/architecture.md), with a SetupIntent whose
    # secret nobody was given.
    told = {row["id"] for row in view.rows["setup_intents"]}
    used = {
        str(row.get("customer"))
        for table in ("payment_methods", "setup_intents", "payment_intents")
        for row in view.stripe(table)
        if table != "setup_intents" or row["id"] in told or row.get("payment_method")
    } | {customer["stripe_customer_id"] for customer in view.customers.values()}
    for row in at_stripe.values():
        user_id = (row.get("metadata") or {}).get("user_id")
        if user_id and row["id"] in used and not row.get("deleted"):
            living[user_id].append(row["id"])
    for user_id, ids in living.items():
        if len(ids) > 1:
            yield Breach("one_customer", user_id, f"has {len(ids)} Customers at Stripe: {', '.join(ids)}")
    for user_id, customer in view.customers.items():
        known = customer["stripe_customer_id"]
        is_living = known in at_stripe and not at_stripe[known].get("deleted")
        if is_living != (customer["deleted_at"] is None):
            yield Breach("one_customer", user_id, f"{known} is {'living' if is_living else 'gone'} at Stripe, not here")


def cards(view: View) -> Iterator[Breach]:
    """Attached and detached, and what a SetupIntent saved."""
    at_stripe = {row["id"]: row for row in view.stripe("payment_methods")}
    defaults: dict[str, list[str]] = defaultdict(list)
    for card in view.cards.values():
        if card["is_default"]:
            defaults[card["user_id"]].append(card["id"])
        yield from _card(view, card, at_stripe.get(card["stripe_payment_method_id"]))
    for user_id, ids in defaults.items():
        if len(ids) > 1:
            yield Breach("cards", user_id, f"has {len(ids)} default cards: {', '.join(ids)}")
    setups = {row["id"]: row for row in view.stripe("setup_intents")}
    for setup in view.rows["setup_intents"]:
        intent = setups.get(setup["id"])
        done = intent is not None and intent["status"] == "succeeded"
        if done != (setup["status"] == "succeeded"):
            there = intent["status"] if intent else "unknown"
            yield Breach("cards", setup["id"], f"is {there} at Stripe and {setup['status']} here")
        if intent is not None and done and intent["payment_method"] not in view.cards_at_stripe:
            attached = at_stripe.get(intent["payment_method"], {}).get("customer")
            if attached is not None:  # one that was detached before its news came need not be saved
                yield Breach("cards", setup["id"], f"saved {intent['payment_method']}, which is no card of ours")


def _card(view: View, card: Row, method: Row | None) -> Iterator[Breach]:
    attached = method["customer"] if method is not None else None
    if card["status"] == "detached":
        if attached is not None:
            yield Breach("cards", card["id"], f"is detached here and still on {attached} at Stripe")
        return
    owner = view.customers.get(card["user_id"])
    customer = owner["stripe_customer_id"] if owner is not None else None
    if attached != customer:
        yield Breach("cards", card["id"], f"is {card['status']}, at Stripe it is on {attached}, not {customer}")
    elif method is not None:
        details = method["card"]
        here, there = ((row["brand"], row["last4"], row["exp_month"], row["exp_year"]) for row in (card, details))
        if here != there:
            yield Breach("cards", card["id"], f"is {here}, at Stripe it is {there}")
