"""Disputes (https://docs.stripe.com/api/disputes): opened by test cards or on demand, answered, won and lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.errors import StripeFault
from local.stripe.fields import merged_metadata, refuse_unsupported
from local.stripe.kinds import words
from local.stripe.resources import balance, radar
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

# Stripe charges a dispute fee, and gives issuers between 7 and 21 days to hear the merchant.
_FEE_MINOR = 2000
_DAYS_TO_ANSWER = 9
_NETWORK_REASON = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6.1"}
_OPEN = {"needs_response", "warning_needs_response"}
# "Evidence" in https://docs.stripe.com/testing#disputes: these texts decide a test dispute.
_DECIDING_TEXTS = {"winning_evidence": "won", "losing_evidence": "lost", "escalate_inquiry_evidence": "escalated"}

_EVIDENCE = words("""
access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal
customer_communication customer_email_address customer_name customer_purchase_ip customer_signature
duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt
refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation
shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number
uncategorized_file uncategorized_text
""")


def open_dispute(
    world: StripeWorld, charge: Json, *, reason: str = "fraudulent", inquiry: bool = False, amount: int | None = None
) -> Json:
    """The cardholder's bank disputes a charge; unless it only inquires, the money is withdrawn at once."""
    card = charge["payment_method_details"]["card"]
    network_reason = _NETWORK_REASON.get(reason)
    dispute = world.disputes.add(
        {
            "id": world.ids.new("du"),
            "object": "dispute",
            "amount": amount if amount is not None else charge["amount_captured"],
            "balance_transactions": [],
            "charge": charge["id"],
            "created": world.clock.timestamp(),
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
            "evidence_details": {
                "due_by": world.clock.timestamp() + _DAYS_TO_ANSWER * 24 * 3600,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "not_submitted",
            },
            "intended_submission_method": "manual",
            "is_charge_refundable": inquiry,
            "livemode": False,
            "metadata": {},
            "network_reason_code": network_reason,
            "payment_intent": charge["payment_intent"],
            "payment_method_details": {
                "card": {
                    "brand": card["brand"],
                    "case_type": "inquiry" if inquiry else "chargeback",
                    "network": card["network"],
                    "network_reason_code": network_reason,
                },
                "type": "card",
            },
            "reason": reason,
            "status": "warning_needs_response" if inquiry else "needs_response",
        }
    )
    charge["disputed"] = True
    world.emit("charge.dispute.created", dispute)
    if not inquiry:
        _withdraw(world, dispute)
    world.emit("charge.updated", charge, {"disputed": False})
    radar.settle_warnings(world, charge)
    radar.close_reviews_of(world, charge, "disputed")
    return dispute


def _withdraw(world: StripeWorld, dispute: Json) -> None:
    transaction = balance.record(world, "adjustment", -dispute["amount"], dispute, fee=_FEE_MINOR)
    dispute["balance_transactions"] = [*dispute["balance_transactions"], transaction]
    world.emit("charge.dispute.funds_withdrawn", dispute)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/disputes/{}``: stage or submit evidence; Stripe's test texts decide the dispute."""
    dispute = world.disputes.at_path(call.id)
    given = call.params
    refuse_unsupported(given, {"evidence", "metadata", "submit", "intended_submission_method"})
    evidence = given.get("evidence", {})
    refuse_unsupported(evidence, _EVIDENCE)
    if evidence and dispute["status"] not in _OPEN:
        message = f"This dispute has a status of {dispute['status']} and takes no more evidence."
        raise StripeFault(message)
    before = {"evidence": dict(dispute["evidence"]), "status": dispute["status"]}
    dispute["evidence"] = {**dispute["evidence"], **evidence}
    dispute["metadata"] = merged_metadata(dispute["metadata"], given.get("metadata"))
    submitted = bool(evidence) and given.get("submit", True)
    details = dispute["evidence_details"]
    if evidence:
        dispute["evidence_details"] = {
            **details,
            "has_evidence": True,
            "submission_count": details["submission_count"] + int(submitted),
            "submission_method": "manual" if submitted else details["submission_method"],
        }
    if submitted:
        inquiry = dispute["status"].startswith("warning")
        dispute["status"] = "warning_under_review" if inquiry else "under_review"
    world.emit("charge.dispute.updated", dispute, before)
    if submitted:
        _decide(world, dispute, str(dispute["evidence"]["uncategorized_text"]).strip())
    return dispute


def _decide(world: StripeWorld, dispute: Json, text: str) -> None:
    outcome = _DECIDING_TEXTS.get(text)

    def decide() -> None:
        if not dispute["status"].endswith("under_review"):
            return  # closed meanwhile
        if outcome == "escalated":
            escalate(world, dispute)
        else:
            end(world, dispute, won=outcome == "won")

    if outcome is not None:
        world.schedule.after(0, decide)


def end(world: StripeWorld, dispute: Json, *, won: bool) -> None:
    """The bank decides; money that was withdrawn comes back with a win."""
    if dispute["status"] in {"won", "lost", "warning_closed"}:
        message = f"The dispute {dispute['id']} is already closed ({dispute['status']})."
        raise StripeFault(message)
    inquiry = dispute["status"].startswith("warning")
    dispute["status"] = "warning_closed" if inquiry and won else "won" if won else "lost"
    dispute["is_charge_refundable"] = inquiry and won
    if won and not inquiry:
        transaction = balance.record(world, "adjustment", dispute["amount"], dispute, fee=0)
        dispute["balance_transactions"] = [*dispute["balance_transactions"], transaction]
        world.emit("charge.dispute.funds_reinstated", dispute)
    world.emit("charge.dispute.closed", dispute)


def escalate(world: StripeWorld, dispute: Json) -> None:
    """An inquiry becomes a chargeback and the money is withdrawn."""
    before = {"status": dispute["status"]}
    dispute |= {"status": "needs_response", "is_charge_refundable": False}
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    world.emit("charge.dispute.updated", dispute, before)
    _withdraw(world, dispute)


def close(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/disputes/{}/close``: give in; it is lost and can't be reopened."""
    dispute = world.disputes.at_path(call.id)
    end(world, dispute, won=False)
    return dispute


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/disputes/{}``."""
    return world.disputes.at_path(call.id)


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/disputes``."""
    filters = {"charge", "payment_intent"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.disputes.page(call.params, "/v1/disputes", keep)


ROUTES: list[Route] = [
    route("GET", "/v1/disputes", sdk.DisputeListParams, list_all),
    route("GET", "/v1/disputes/{}", sdk.DisputeRetrieveParams, retrieve),
    route("POST", "/v1/disputes/{}", sdk.DisputeUpdateParams, update),
    route("POST", "/v1/disputes/{}/close", sdk.DisputeCloseParams, close),
]
