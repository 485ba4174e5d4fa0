"""What the checker finds, and the rules by name."""

from dataclasses import dataclass

RULES: dict[str, str] = {
    # --- one booking, one PaymentIntent, one charge (invariant 1)
    "one_payment_intent": "A booking has at most one PaymentIntent at Stripe, and knows it.",
    "one_charge": "A PaymentIntent has at most one successful charge, a booking at most one attempt open or succeeded.",
    "one_booking": "A campaign books an offer once.",
    # --- money (invariants 3 and 5)
    "price": "A booking and its PaymentIntent are of the offer's amount and currency.",
    "money_without_booking": "Money that Stripe took belongs to a booking that stands, or has been given back.",
    "booking_without_money": "A confirmed or refunded booking's PaymentIntent has succeeded.",
    "captured": "What a booking says was captured is what Stripe captured.",
    "payment_state": "A PaymentIntent's status fits its booking's; an ended booking leaves no hold and nothing to pay.",
    "refunds": "Our refunds are Stripe's and Stripe's are ours, by amount, currency and outcome.",
    "refund_totals": "A booking's refunded amount is the sum of its refunds, never above what was captured.",
    # --- whose (what users fear fourth)
    "ownership": "A booking's campaign, cards, Customer and charges are all of one user.",
    "one_customer": "A user has at most one living Customer at Stripe.",
    "cards": "A card is here what it is at Stripe: attached, detached, set up.",
    # --- budgets (invariant 2)
    "totals": "A campaign's totals and counts are the sums of its ledger and bookings.",
    "limits": "Reserved and spent stay within the budget, bookings within max_bookings.",
    "ledger": "A booking's entries tell its story: one reserve, then a spend or a release, then its refunds.",
    # --- nothing is stuck
    "stuck": "Nothing waits for a step that nobody will take.",
    "matches": "Every match that waits has been charged or refused, and what was charged has its booking.",
    # --- news (invariant 4)
    "events": "Every event of ours has been stored and applied, or its effect is there.",
    "disputes": "Disputes, fraud warnings and reviews are here what they are at Stripe.",
    # --- told (invariant 6)
    "told": "Every end that a cardholder must know of has exactly one notification.",
    "mail": "Every notification was mailed once; again only where its try was not known to have succeeded.",
    # --- history
    "transition": "Every move of a status in the audit log is one that its state machine allows.",
    "audit": "The audit log's chains are whole and lead to the rows as they are.",
}
"""Every rule in a sentence. What a Breach names is a key of this."""


@dataclass(frozen=True)
class Breach:
    """`subject` is the id of what is wrong; `detail` says it to a person, with what was expected."""

    rule: str
    subject: str
    detail: str

    def __post_init__(self) -> None:
        assert self.rule in RULES, f"{self.rule} is no rule"

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"
