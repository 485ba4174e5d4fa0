"""Refunds, disputes and early fraud warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stripe

from local.stripe import actors

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


def paid(account: Account, card: str = "pm_card_visa") -> stripe.PaymentIntent:
    customer = account.customer()
    return account.charge(customer, account.save_card(customer, card))


def charge_of(account: Account, intent: stripe.PaymentIntent) -> stripe.Charge:
    charge: stripe.Charge = account.v1.charges.retrieve(intent.latest_charge)
    return charge


def test_part_by_part_until_nothing_is_left(account: Account) -> None:
    intent = paid(account)
    first = account.v1.refunds.create({"payment_intent": intent.id, "amount": 1000, "metadata": {"booking_id": "b1"}})
    assert (first.status, first.amount, first.metadata["booking_id"]) == ("succeeded", 1000, "b1")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        account.v1.refunds.create({"payment_intent": intent.id, "amount": 1501})
    assert not charge_of(account, intent).refunded
    second = account.v1.refunds.create({"charge": intent.latest_charge, "reason": "requested_by_customer"})
    assert second.amount == 1500
    charge = charge_of(account, intent)
    assert (charge.refunded, charge.amount_refunded) == (True, 2500)
    with pytest.raises(stripe.InvalidRequestError) as again:
        account.v1.refunds.create({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"
    assert [row.id for row in account.v1.refunds.list({"payment_intent": intent.id}).data] == [second.id, first.id]
    assert account.event_types()[-4:] == ["refund.created", "charge.refunded", "refund.created", "charge.refunded"]
    with pytest.raises(stripe.InvalidRequestError, match="could not be canceled"):
        account.v1.refunds.cancel(second.id)


def test_7726_is_pending_first(account: Account) -> None:
    intent = paid(account, "pm_card_pendingRefund")
    refund = account.v1.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert account.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert account.event_types()[-2:] == ["refund.updated", "charge.refund.updated"]


def test_5126_fails_later(account: Account) -> None:
    intent = paid(account, "pm_card_refundFail")
    refund = account.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    failed = account.v1.refunds.retrieve(refund.id)
    assert failed.status == "failed"
    assert failed.failure_reason == "unknown"
    assert failed.failure_balance_transaction is not None
    charge = charge_of(account, intent)
    assert (charge.refunded, charge.amount_refunded) == (False, 0)
    assert "refund.failed" in account.event_types()


def test_a_payment_that_failed_has_nothing_to_refund(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        account.v1.refunds.create({"payment_intent": refused.value.error.payment_intent.id})


@pytest.mark.parametrize(
    ("token", "reason", "status", "withdrawn"),
    [
        ("pm_card_createDispute", "fraudulent", "needs_response", True),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response", True),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response", False),
    ],
)
def test_disputes_by_card(account: Account, token: str, reason: str, status: str, *, withdrawn: bool) -> None:
    intent = paid(account, token)
    (dispute,) = account.v1.disputes.list({"payment_intent": intent.id}).data
    assert (dispute.reason, dispute.status, dispute.amount) == (reason, status, 2500)
    assert charge_of(account, intent).disputed
    assert ("charge.dispute.funds_withdrawn" in account.event_types()) == withdrawn
    if withdrawn:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            account.v1.refunds.create({"payment_intent": intent.id})
        assert refused.value.code == "charge_disputed"
    else:
        assert account.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


@pytest.mark.parametrize(("evidence", "ending"), [("winning_evidence", "won"), ("losing_evidence", "lost")])
def test_evidence_decides(account: Account, evidence: str, ending: str) -> None:
    intent = paid(account, "pm_card_createDispute")
    (dispute,) = account.v1.disputes.list({"payment_intent": intent.id}).data
    answered = account.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}})
    assert answered.status == "under_review"
    assert account.v1.disputes.retrieve(dispute.id).status == ending
    assert account.event_types()[-1] == "charge.dispute.closed"
    assert ("charge.dispute.funds_reinstated" in account.event_types()) == (ending == "won")


def test_an_inquiry_escalates(account: Account) -> None:
    intent = paid(account, "pm_card_createDisputeInquiry")
    (dispute,) = account.v1.disputes.list({"payment_intent": intent.id}).data
    account.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
    assert account.v1.disputes.retrieve(dispute.id).status == "needs_response"
    assert account.event_types()[-1] == "charge.dispute.funds_withdrawn"


def test_staged_evidence_is_not_submitted(account: Account) -> None:
    intent = paid(account, "pm_card_createDispute")
    (dispute,) = account.v1.disputes.list({"payment_intent": intent.id}).data
    staged = account.v1.disputes.update(dispute.id, {"evidence": {"product_description": "a flight"}, "submit": False})
    assert staged.status == "needs_response"
    assert (staged.evidence_details.has_evidence, staged.evidence_details.submission_count) == (True, 0)
    closed = account.v1.disputes.close(dispute.id)
    assert closed.status == "lost"
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.disputes.close(dispute.id)


def test_early_fraud_warning(account: Account) -> None:
    intent = paid(account, "pm_card_createIssuerFraudRecord")
    (warning,) = account.v1.radar.early_fraud_warnings.list({"payment_intent": intent.id}).data
    assert (warning.actionable, warning.charge) == (True, intent.latest_charge)
    account.v1.refunds.create({"payment_intent": intent.id, "reason": "fraudulent"})
    assert not account.v1.radar.early_fraud_warnings.retrieve(warning.id).actionable
    types = account.event_types()
    assert "radar.early_fraud_warning.created" in types
    assert types[-1] == "radar.early_fraud_warning.updated"


def test_two_disputes_on_one_charge(account: Account) -> None:
    intent = paid(account, "pm_card_createMultipleDisputes")
    assert len(account.v1.disputes.list({"payment_intent": intent.id}).data) == 2


def test_3d_secure_protects_against_fraud_disputes(account: Account) -> None:
    from local.stripe import authentication

    customer = account.customer()
    method = account.save_card(customer, "pm_card_createDispute")
    actors.change_card(account.world, method, actors.CardChange(behaviour="challenge"))
    intent = account.v1.payment_intents.create(
        {
            "amount": 700,
            "currency": "eur",
            "customer": customer.id,
            "payment_method": method,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )
    authentication.answer(account.world, intent.id, "succeed")
    account.world.tick()
    assert len(account.world.disputes) == 0


def test_the_bank_acts_by_hand(account: Account) -> None:
    intent = paid(account)
    world = account.world
    dispute = actors.open_dispute(world, "", actors.OpenDispute(payment_intent=intent.id, reason="duplicate"))
    assert actors.end_dispute(world, dispute["id"], actors.EndDispute("win"))["status"] == "won"
    warning = actors.warn(world, "", actors.Warn(payment_intent=intent.id))
    assert warning["charge"] == intent.latest_charge
    review = actors.open_review(world, "", actors.OpenReview(payment_intent=intent.id))
    assert actors.close_review(world, review["id"], actors.CloseReview("refunded"))["closed_reason"] == "refunded"
    refund = account.v1.refunds.create({"payment_intent": intent.id, "amount": 10})
    assert actors.settle_refund(world, refund.id, actors.SettleRefund("fail"))["status"] == "failed"


def test_the_balance_adds_up(account: Account) -> None:
    intent = paid(account)
    account.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    fee = 2500 * 15 // 1000 + 25
    pending = {row.currency: row.amount for row in account.v1.balance.retrieve().pending}
    assert pending == {"eur": 2500 - fee - 500}
    account.world.advance(8 * 24 * 3600)
    available = {row.currency: row.amount for row in account.v1.balance.retrieve().available}
    assert available == pending
    assert account.v1.accounts.retrieve_current().charges_enabled
