"""A snapshot with its rows at hand by what they belong to."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property

from local.faults.checker.snapshot import Row, Snapshot

IN_FLIGHT = frozenset({"charging", "requires_action", "retry_scheduled", "authorized"})
TAKEN = frozenset({"confirmed", "refunded"})
DEAD = frozenset({"failed", "cancelled"})
OPEN_ATTEMPT = frozenset({"started", "processing", "requires_action", "authorized"})
GIVEN_BACK = frozenset({"pending", "succeeded"})
"""States of a refund that count as money given back."""


def moment(text: str | None) -> datetime | None:
    """A timestamp of a row; None for null and for -infinity."""
    return None if text is None or text.endswith("infinity") else datetime.fromisoformat(text)


def _grouped(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row[column])].append(row)
    return dict(found)


def _is_release(refund: Row) -> bool:
    details = refund.get("destination_details") or {}
    return bool((details.get("card") or {}).get("type") == "reversal")


class View:
    """Rows by id and by owner. Missing owners read as empty lists."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot.now
        self.rows = snapshot.rows
        self.mails = snapshot.mails
        self._stripe = snapshot.stripe

    def stripe(self, kind: str) -> Sequence[Row]:
        """Stripe's objects of a kind, named as in `/_control/books`."""
        return self._stripe.get(kind, ())

    def by_id(self, table: str) -> dict[str, Row]:
        """A table's rows by id."""
        return {str(row["id"]): row for row in self.rows[table]}

    # --- ours --------------------------------------------------------------------------------------------------------

    @cached_property
    def bookings(self) -> dict[str, Row]:
        """Bookings by id."""
        return self.by_id("bookings")

    @cached_property
    def campaigns(self) -> dict[str, Row]:
        """Campaigns by id."""
        return self.by_id("campaigns")

    @cached_property
    def offers(self) -> dict[str, Row]:
        """Offers by id."""
        return self.by_id("offers")

    @cached_property
    def cards(self) -> dict[str, Row]:
        """Payment methods by our id."""
        return self.by_id("payment_methods")

    @cached_property
    def cards_at_stripe(self) -> dict[str, Row]:
        """Our payment methods by Stripe's id."""
        return {row["stripe_payment_method_id"]: row for row in self.rows["payment_methods"]}

    @cached_property
    def customers(self) -> dict[str, Row]:
        """Customers by user id."""
        return {row["user_id"]: row for row in self.rows["customers"]}

    @cached_property
    def attempts(self) -> dict[str, list[Row]]:
        """Attempts by booking."""
        return _grouped(self.rows["attempts"], "booking_id")

    @cached_property
    def refunds(self) -> dict[str, list[Row]]:
        """Refunds by booking."""
        return _grouped(self.rows["refunds"], "booking_id")

    @cached_property
    def entries(self) -> dict[str, list[Row]]:
        """Ledger entries by booking."""
        return _grouped(self.rows["ledger_entries"], "booking_id")

    @cached_property
    def notified(self) -> dict[tuple[str, str], int]:
        """How many notifications there are by kind and booking, or by kind and campaign where there is no booking."""
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.rows["notifications"]:
            counts[row["kind"], str(row["booking_id"] or row["campaign_id"] or row["user_id"])] += 1
        return dict(counts)

    @cached_property
    def logged(self) -> list[tuple[tuple[str, str], Row]]:
        """What each entry of the audit log says is new, with the row's table and id; oldest first."""
        return [((entry["table_name"], entry["row_id"]), json.loads(entry["new"])) for entry in self.rows["audit_log"]]

    @cached_property
    def history(self) -> dict[tuple[str, str], list[str]]:
        """The statuses that a row has had, oldest first, by table and id, as the audit log tells them."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row, new in self.logged:
            if "status" in new:
                found[row].append(new["status"])
        return dict(found)

    @cached_property
    def called_off(self) -> set[str]:
        """Bookings that were to be cancelled at any time, whatever became of them since."""
        return {
            row_id
            for (table, row_id), new in self.logged
            if table == "bookings" and new.get("closing_as") == "cancelled"
        }

    # --- Stripe's ----------------------------------------------------------------------------------------------------

    @cached_property
    def intents(self) -> dict[str, Row]:
        """PaymentIntents by id."""
        return {row["id"]: row for row in self.stripe("payment_intents")}

    @cached_property
    def intents_of(self) -> dict[str, list[Row]]:
        """PaymentIntents by the booking that their metadata name; under an empty name those that name none."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.stripe("payment_intents"):
            found[(row.get("metadata") or {}).get("booking_id", "")].append(row)
        return dict(found)

    @cached_property
    def charges_of(self) -> dict[str, list[Row]]:
        """Charges by PaymentIntent."""
        return _grouped(self.stripe("charges"), "payment_intent")

    @cached_property
    def stripe_refunds_of(self) -> dict[str, list[Row]]:
        """Refunds at Stripe by PaymentIntent, without those by which it books the released part of a hold."""
        return _grouped((row for row in self.stripe("refunds") if not _is_release(row)), "payment_intent")

    def captured(self, intent_id: str) -> int:
        """What Stripe captured of a PaymentIntent, in minor units."""
        taken = [row for row in self.charges_of.get(intent_id, ()) if row["status"] == "succeeded" and row["captured"]]
        return sum(row["amount_captured"] for row in taken)
