"""Pieces of a payment's life as the stand-ins play them, and the end of each."""

from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.story import Scene, Script
from tests.support.travellers import SAVES_THEN_DECLINES, VISA, Json
from tests.support.waiting import until


@dataclass(frozen=True)
class Family:
    """What happens (`before` with all news arriving, `then` with those that are tested) and how it must end."""

    then: Script
    ends: tuple[str | None, tuple[str, str | None], list[str]]
    """The booking's status, the campaign's with its pause_reason, the kinds of messages about what lasts."""
    before: Script = lambda scene: None
    set_up: Json = field(default_factory=dict)
    has_charge: bool = False
    """Whether `then` begins with the charge itself, whose function may be slow or get lost."""


def charge(scene: Scene) -> None:
    scene.charge()


def charge_slowly(scene: Scene) -> None:
    """The bank takes a moment; the end comes by events alone."""
    scene.charge()
    until(lambda: scene.sdk.v1.payment_intents.retrieve(scene.intent_id).status != "processing")
    scene.between()


def charge_and_dispute(outcome: str | None) -> Script:
    def script(scene: Scene) -> None:
        scene.charge()
        dispute(outcome)(scene)

    return script


def dispute(outcome: str | None, *, inquiry: bool = False, evidence: bool = False, escalates: bool = False) -> Script:
    def script(scene: Scene) -> None:
        opened = scene.control("/disputes", {"payment_intent": scene.intent_id, "inquiry": inquiry})
        if escalates:
            scene.control(f"/disputes/{opened['id']}", {"outcome": "escalate"})
        if evidence:
            scene.sdk.v1.disputes.update(opened["id"], {"evidence": {"uncategorized_text": "Here."}, "submit": True})
            scene.between()
        if outcome is not None:
            scene.control(f"/disputes/{opened['id']}", {"outcome": outcome})

    return script


def refund(amount: int, outcome: str | None = None) -> Script:
    """A refund made in Stripe's dashboard."""

    def script(scene: Scene) -> None:
        made = scene.sdk.v1.refunds.create({"payment_intent": scene.intent_id, "amount": amount})
        scene.between()
        if outcome is not None:
            scene.control(f"/refunds/{made.id}", {"outcome": outcome})

    return script


def warn(scene: Scene) -> None:
    scene.control("/early-fraud-warnings", {"payment_intent": scene.intent_id})


def warn_then_refund(scene: Scene) -> None:
    warn(scene)
    refund(12_000)(scene)


def review(reason: str | None) -> Script:
    def script(scene: Scene) -> None:
        opened = scene.control("/reviews", {"payment_intent": scene.intent_id})
        if reason is not None:
            scene.control(f"/reviews/{opened['id']}", {"reason": reason})

    return script


def capture_in_the_dashboard(amount: int) -> Script:
    def script(scene: Scene) -> None:
        scene.sdk.v1.payment_intents.capture(scene.intent_id, {"amount_to_capture": amount})
        scene.between()

    return script


def charge_then_capture(scene: Scene) -> None:
    scene.charge()
    capture_in_the_dashboard(12_000)(scene)


def cancel_in_the_dashboard(scene: Scene) -> None:
    scene.sdk.v1.payment_intents.cancel(scene.intent_id)
    scene.between()


def authenticate(*outcomes: str) -> Script:
    def script(scene: Scene) -> None:
        for outcome in outcomes:
            scene.authenticate(outcome)

    return script


def authenticate_in_vain(scene: Scene) -> None:
    """The cardholder authenticates, and the bank declines all the same."""
    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "challenge", times=1)
    assert scene.page.confirm(scene.traveller, scene.booking, scene.card) == "requires_action"
    scene.between()
    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "generic_decline")
    scene.control("/authenticate", {"intent": scene.intent_id, "outcome": "succeed"})


def renew_twice(scene: Scene) -> None:
    for year in (2041, 2045):
        scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "network_update", exp_year=year)
        scene.between()


def renew_and_detach(scene: Scene) -> None:
    renew_twice(scene)
    scene.sdk.v1.payment_methods.detach(scene.traveller.stripe_id(scene.card))
    scene.between()


def delete_customer(scene: Scene) -> None:
    scene.sdk.v1.customers.delete(scene.traveller.customer_id)
    scene.between()


def revoke_mandate(scene: Scene) -> None:
    scene.control(f"/mandates/{scene.notes['mandate']}", {"status": "inactive"})


def save_with_a_mandate(scene: Scene) -> None:
    setup = scene.traveller.begin_setup()
    acceptance: Any = {"type": "online", "online": {"ip_address": "192.0.2.1", "user_agent": "Test"}}
    confirmed = scene.sdk.v1.setup_intents.confirm(
        setup["id"], {"payment_method": VISA, "mandate_data": {"customer_acceptance": acceptance}}
    )
    scene.notes["mandate"] = confirmed.mandate
    scene.between()


def fail_then_save(scene: Scene) -> None:
    """A card with a challenge: failed once, answered the second time."""
    setup = scene.traveller.begin_setup()
    for outcome in ("fail", "succeed"):
        status = scene.traveller.stripe.confirm_setup(setup["client_secret"], "pm_card_authenticationRequired")
        assert status == "requires_action"
        scene.between()
        scene.control("/authenticate", {"intent": setup["id"], "outcome": outcome})


def begin_and_abandon(scene: Scene) -> None:
    setup = scene.traveller.begin_setup()
    scene.traveller.stripe.confirm_setup(setup["client_secret"], "pm_card_authenticationRequired")
    scene.between()
    scene.sdk.v1.setup_intents.cancel(setup["id"])
    scene.between()


_ACTIVE: tuple[str, str | None] = ("active", None)
_MANUAL = {"capture": "manual"}
_ASKS = {"behaviour": {"behaviour": "authentication_required"}}
_NO_CARD = {"card": None}
_BOOKED = ["booking_confirmed"]

CHARGES = {
    "paid": Family(charge, ("confirmed", _ACTIVE, _BOOKED)),
    "declined": Family(
        charge,
        ("failed", ("paused", "payment_failed"), ["booking_failed"]),
        set_up={"behaviour": {"behaviour": "generic_decline"}},
    ),
    "declined as stolen": Family(
        charge,
        ("failed", ("paused", "card_unusable"), ["booking_failed", "card_unusable"]),
        set_up={"behaviour": {"behaviour": "stolen_card"}, "backup": VISA, "use_backups": True},
    ),
    "declined, a backup pays": Family(
        charge,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={"card": SAVES_THEN_DECLINES, "backup": VISA, "use_backups": True},
    ),
    "declined for now": Family(
        charge, ("retry_scheduled", _ACTIVE, []), set_up={"behaviour": {"behaviour": "insufficient_funds"}}
    ),
    "asked for the cardholder": Family(charge, ("requires_action", _ACTIVE, []), set_up=_ASKS),
    "slowly paid": Family(
        charge_slowly,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={"behaviour": {"behaviour": "processing", "seconds": 0.1}},
    ),
    "slowly declined, a backup pays": Family(
        charge_slowly,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={
            "behaviour": {"behaviour": "processing", "seconds": 0.1, "then": "generic_decline"},
            "backup": VISA,
            "use_backups": True,
        },
    ),
    "held": Family(charge, ("authorized", _ACTIVE, []), set_up=_MANUAL),
    "held and captured in the dashboard": Family(charge_then_capture, ("confirmed", _ACTIVE, _BOOKED), set_up=_MANUAL),
    "held and under review": Family(
        charge, ("authorized", _ACTIVE, []), set_up=_MANUAL | {"card": "pm_card_riskLevelElevated"}
    ),
    "paid and disputed at once": Family(
        charge_and_dispute(None), ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"])
    ),
    "paid, disputed and lost": Family(
        charge_and_dispute("lose"),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_lost", "dispute_opened"]),
    ),
    "paid and warned of at once": Family(
        charge,
        ("confirmed", ("paused", "fraud_warning"), ["booking_confirmed", "fraud_warning"]),
        set_up={"card": "pm_card_createIssuerFraudRecord"},
    ),
}
CHARGES = {name: replace(family, has_charge=True) for name, family in CHARGES.items()}

AFTERWARDS = {
    "authenticated": Family(authenticate("succeed"), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_ASKS),
    "authenticated at the third try": Family(
        authenticate("fail", "fail", "succeed"), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_ASKS
    ),
    "authentication failed": Family(
        authenticate("fail"), ("requires_action", _ACTIVE, []), before=charge, set_up=_ASKS
    ),
    "authenticated for a hold": Family(
        authenticate("succeed"), ("authorized", _ACTIVE, []), before=charge, set_up=_ASKS | _MANUAL
    ),
    "authenticated in vain": Family(
        authenticate_in_vain,
        ("failed", ("paused", "payment_failed"), ["booking_failed"]),
        before=charge,
        set_up=_ASKS,
    ),
    "a part captured in the dashboard": Family(
        capture_in_the_dashboard(5_000), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_MANUAL
    ),
    "hold cancelled in the dashboard": Family(
        cancel_in_the_dashboard, ("cancelled", _ACTIVE, ["booking_cancelled"]), before=charge, set_up=_MANUAL
    ),
    "refunded in the dashboard": Family(
        refund(12_000), ("refunded", _ACTIVE, ["booking_confirmed", "refund_issued"]), before=charge
    ),
    "a part refunded in the dashboard": Family(
        refund(4_000), ("confirmed", _ACTIVE, ["booking_confirmed", "refund_issued"]), before=charge
    ),
    "refund pending, then done": Family(
        refund(12_000, "succeed"),
        ("refunded", _ACTIVE, ["booking_confirmed", "refund_issued"]),
        before=charge,
        set_up={"card": "pm_card_pendingRefund"},
    ),
    "refund done, then sent back": Family(
        refund(12_000, "fail"),
        ("confirmed", _ACTIVE, ["booking_confirmed", "refund_failed"]),
        before=charge,
    ),
    "disputed": Family(
        dispute(None), ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]), before=charge
    ),
    "disputed, answered": Family(
        dispute(None, evidence=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]),
        before=charge,
    ),
    "disputed and won": Family(
        dispute("win"),
        ("confirmed", _ACTIVE, ["booking_confirmed", "dispute_opened", "dispute_won"]),
        before=charge,
    ),
    "disputed, answered and lost": Family(
        dispute("lose", evidence=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_lost", "dispute_opened"]),
        before=charge,
    ),
    "inquired, then closed": Family(
        dispute("win", inquiry=True),
        ("confirmed", _ACTIVE, ["booking_confirmed", "dispute_opened", "dispute_won"]),
        before=charge,
    ),
    "inquired, then disputed": Family(
        dispute(None, inquiry=True, escalates=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]),
        before=charge,
    ),
    "warned of": Family(
        warn_then_refund,
        ("refunded", ("paused", "fraud_warning"), ["booking_confirmed", "fraud_warning", "refund_issued"]),
        before=charge,
    ),
    "hold warned of": Family(
        warn,
        ("cancelled", ("paused", "fraud_warning"), ["booking_cancelled", "fraud_warning"]),
        before=charge,
        set_up=_MANUAL,
    ),
    "reviewed and approved": Family(review("approved"), ("authorized", _ACTIVE, []), before=charge, set_up=_MANUAL),
    "reviewed and refused": Family(
        review("refunded_as_fraud"), ("cancelled", _ACTIVE, ["booking_cancelled"]), before=charge, set_up=_MANUAL
    ),
    "card renewed twice": Family(renew_twice, (None, _ACTIVE, [])),
    "card renewed and removed": Family(
        renew_and_detach, (None, ("paused", "card_unusable"), ["campaign_paused", "card_removed"])
    ),
    "customer deleted": Family(
        delete_customer,
        (None, ("paused", "card_unusable"), ["campaign_paused", "card_removed"]),
        set_up={"backup": VISA},
    ),
    "mandate revoked": Family(
        revoke_mandate, (None, _ACTIVE, ["card_unusable"]), before=save_with_a_mandate, set_up=_NO_CARD
    ),
    "card saved at the second try": Family(fail_then_save, (None, _ACTIVE, []), set_up=_NO_CARD),
    "saving abandoned": Family(begin_and_abandon, (None, _ACTIVE, []), set_up=_NO_CARD),
}

FAMILIES = CHARGES | AFTERWARDS
