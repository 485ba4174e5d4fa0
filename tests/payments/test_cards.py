"""Every test card that can be saved, in every situation that a saved card can meet.

What each card does is told by https://docs.stripe.com/testing, what a merchant does after a decline by
https://docs.stripe.com/declines/codes and https://docs.stripe.com/declines/card#retrying-issuer-declines. The tables
here were written from those pages; neither our decline tables nor the stand-in's cards are looked at, but for a test
that no card of the stand-in is missing here.
"""

from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

import pytest
import stripe

from local.stripe.cards import CARDS
from tests.support.aftermath import (
    RELEASED,
    RESERVED,
    SPENT,
    Books,
    Page,
    Reconcile,
    Wire,
    books,
    move_into_the_past,
)
from tests.support.http import ok, refused
from tests.support.travellers import SAVES_THEN_DECLINES, VISA, Json, Traveller, in_time


class Does(Enum):
    """What comes of charging a card, as Stripe's pages have it."""

    PAYS = "the charge succeeds"
    DECLINES = "declined for no reason that the card is to be barred for; another card may be tried"
    LATER = "declined, but the bank says that a later attempt may work"
    UNUSABLE = "declined until the cardholder corrects the card; another card may be tried"
    FRAUD = "declined on a suspicion: the card is barred, and no other is tried by itself"
    ASKS = "declined unless the cardholder authenticates"


class After(NamedTuple):
    """What follows a successful charge of a card."""

    campaign: tuple[str, str | None] = ("active", None)
    told: tuple[str, ...] = ()
    card: str = "usable"
    incidents: tuple[str, ...] = ()


CALM = After()
DISPUTED = After(campaign=("paused", "dispute"), told=("dispute_opened",))
DISPUTED_TWICE = After(campaign=("paused", "dispute"), told=("dispute_opened", "dispute_opened"))
WARNED = After(
    campaign=("paused", "fraud_warning"),
    told=("fraud_warning",),
    card="unusable",
    incidents=("early_fraud_warning",),
)


class Row(NamedTuple):
    """A card that can be saved: what it does off-session, and with its holder there."""

    off_session: Does
    with_holder: Does
    challenged: bool = False
    """Whether the bank asks the holder before it answers a payment on the page."""
    after: After = CALM


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


_PAYS = Row(Does.PAYS, Does.PAYS)

PLAIN = words(
    """
    visa visa_debit mastercard mastercard_2series mastercard_debit mastercard_prepaid amex amex2 discover discover2
    diners diners14 jcb unionpay amex_threeDSecureNotSupported bypassPending bypassPendingInternational cvcCheckFail
    avsZipFail avsLine1Fail avsFail avsUnchecked riskLevelElevated cvcCheckFailElevatedRisk avsZipFailElevatedRisk
    pendingRefund refundFail
    us ar br ca cl co cr ec mx pa py pe uy ae at be bg by hr cy cz dk ee fi fr de gi gr hu ie it lv li lt lu mt nl no pl
    pt ro sa si sk es se ch gb gb_debit gb_mastercard au cn hk in jp jp_jcb my nz sg tw th_credit th_debit
    """
)
"""Cards that succeed off-session and with their holder, whatever a check that we don't ask for would have said."""

ROWS: dict[str, Row] = {
    # "Attaching this card to a Customer object succeeds, but attempts to charge the customer fail."
    "chargeCustomerFail": Row(Does.DECLINES, Does.DECLINES),
    # "The charge has a risk level of highest." Radar always blocks the one, and the other by default.
    "radarBlock": Row(Does.FRAUD, Does.FRAUD),
    "riskLevelHighest": Row(Does.FRAUD, Does.FRAUD),
    # "With default account settings, charge succeeds, only to be disputed"; "protected after 3D Secure" does not apply.
    "createDispute": Row(Does.PAYS, Does.PAYS, after=DISPUTED),
    "createDisputeProductNotReceived": Row(Does.PAYS, Does.PAYS, after=DISPUTED),
    "createDisputeInquiry": Row(Does.PAYS, Does.PAYS, after=DISPUTED),
    "createMultipleDisputes": Row(Does.PAYS, Does.PAYS, after=DISPUTED_TWICE),
    "createIssuerFraudRecord": Row(Does.PAYS, Does.PAYS, after=WARNED),
    # "After you set it up, off-session payments no longer require authentication. On-session payments always do."
    "authenticationRequiredOnSetup": Row(Does.PAYS, Does.PAYS, challenged=True),
    # "Requires authentication on all transactions, regardless of how the card is set up."
    "authenticationRequired": Row(Does.ASKS, Does.PAYS, challenged=True),
    # "Already set up for off-session use. It requires authentication for one-time and other on-session payments."
    "authenticationRequiredSetupForOffSession": Row(Does.PAYS, Does.PAYS, challenged=True),
    # "All payments are declined with insufficient_funds, even after being successfully authenticated or set up."
    "authenticationRequiredChargeDeclinedInsufficientFunds": Row(Does.LATER, Does.DECLINES, challenged=True),
    # "3D Secure authentication must be completed for the payment to be successful": the set-up's exempts off-session.
    "threeDSecure2Required": Row(Does.PAYS, Does.PAYS, challenged=True),
    "threeDSecureRequiredOld": Row(Does.PAYS, Does.PAYS, challenged=True),
    # "… but payments are declined with a card_declined failure code after authentication."
    "threeDSecureRequiredChargeDeclined": Row(Does.PAYS, Does.DECLINES, challenged=True),
    # "3D Secure authentication might still be performed, but isn't required."
    "threeDSecureOptional": _PAYS,
    "threeDSecureOptionalProcessingError": _PAYS,
}

CANNOT_BE_SAVED = words(
    """
    visa_chargeDeclined visa_chargeDeclinedInsufficientFunds visa_chargeDeclinedLostCard visa_chargeDeclinedStolenCard
    chargeDeclinedExpiredCard chargeDeclinedIncorrectCvc chargeDeclinedProcessingError
    visa_chargeDeclinedVelocityLimitExceeded threeDSecureRequiredProcessingError
    """
)
"""The cards of "Declined payments": attaching them fails, as does the 3D Secure lookup of the last."""

BANK_TURNS: dict[str, Does] = {
    # Saved while all was well; later the bank answers as the card that can't be saved does.
    "generic_decline": Does.DECLINES,
    "do_not_honor": Does.DECLINES,
    "insufficient_funds": Does.LATER,
    "card_velocity_exceeded": Does.LATER,
    "processing_error": Does.LATER,
    "issuer_not_available": Does.LATER,
    "expired_card": Does.UNUSABLE,
    "incorrect_cvc": Does.UNUSABLE,
    "lost_card": Does.FRAUD,
    "stolen_card": Does.FRAUD,
    "fraudulent": Does.FRAUD,
    "pickup_card": Does.FRAUD,
    "authentication_required": Does.ASKS,
}


def _turned(does: Does) -> Row:
    """What a card does whose bank has turned; one that asks for its holder asks on the page too, and is content.

    Who has authenticated and is declined all the same is told, although a later attempt might work: off-session the
    bank would only ask for the holder again.
    """
    match does:
        case Does.ASKS:
            return Row(does, Does.PAYS, challenged=True)
        case Does.LATER:
            return Row(does, Does.DECLINES)
    return Row(does, does)


_LONG: dict[str, Any] = {"expires_at": in_time(days=20)}
"""An offer that lives longer than any wait for another try."""

_BEGUN = Books(
    booking="",
    attempts=(),
    ledger=(RESERVED,),
    campaign=("active", None),
    reserved_and_spent=(12_000, 0),
    told=(),
    cards=("usable",),
    intent="requires_payment_method",
    charges=(),
    incidents=(),
)


def expected(does: Does, *, cards: tuple[str, ...], earlier_charges: int = 0, after: After = CALM) -> Books:
    """The books after an attempt with the last of the cards; those before it were tried, and are as said."""
    failed = ("failed",) * earlier_charges
    match does:
        case Does.PAYS:
            return replace(
                _BEGUN,
                booking="confirmed",
                attempts=("succeeded",),
                ledger=(RESERVED, SPENT),
                reserved_and_spent=(0, 12_000),
                campaign=after.campaign,
                told=tuple(sorted(("booking_confirmed", *after.told))),
                cards=(*cards, after.card),
                intent="succeeded",
                charges=(*failed, "succeeded"),
                incidents=after.incidents,
            )
        case Does.LATER:
            return replace(
                _BEGUN,
                booking="retry_scheduled",
                attempts=("declined",),
                cards=(*cards, "usable"),
                charges=(*failed, "failed"),
            )
        case Does.ASKS:
            return replace(
                _BEGUN,
                booking="requires_action",
                attempts=("requires_action",),
                cards=(*cards, "usable"),
                charges=(*failed, "failed"),
            )
    kept = does is Does.DECLINES
    return replace(
        _BEGUN,
        booking="failed",
        attempts=("declined",),
        ledger=(RESERVED, RELEASED),
        reserved_and_spent=(0, 0),
        campaign=("paused", "payment_failed" if kept else "card_unusable"),
        told=("booking_failed",) if kept else ("booking_failed", "card_unusable"),
        cards=(*cards, "usable" if kept else "unusable"),
        intent="canceled",
        charges=(*failed, "failed"),
    )


def with_earlier(end: Books, *attempts: str) -> Books:
    """The same with attempts that went before."""
    return replace(end, attempts=(*attempts, *end.attempts))


def begin(traveller: Traveller, campaign: Json) -> Json:
    """Charge a new offer: the booking, whatever came of it."""
    answer = traveller.charge(campaign, traveller.offer(**_LONG))
    assert answer.status_code in (201, 202, 402), answer.text
    found: Json = answer.json()
    return dict(found["booking"]) if answer.status_code == 402 else found


def settled(traveller: Traveller, booking: Json) -> Books:
    """The books once every webhook has arrived."""
    traveller.stripe.flush()
    return books(traveller, booking)


def try_again(traveller: Traveller, booking: Json, reconcile: Reconcile) -> None:
    """Let the hour of the retry come; not before the webhooks of the first try, which would take it as well."""
    traveller.stripe.flush()
    move_into_the_past(traveller, booking, "retry_at")
    (line, *_) = reconcile.due(booking)
    assert line["what"] == "retry_due"


def answer_the_bank(traveller: Traveller, booking: Json, card: Json, page: Page, *, challenged: bool) -> None:
    """The cardholder comes to the page and does what the bank asks."""
    try:
        if challenged:
            page.authenticate(traveller, booking, card, "succeed")
        else:
            page.confirm(traveller, booking, card)
    except stripe.CardError:
        pass  # the page shows it; our side hears of it by the webhook


# --- every card that pays --------------------------------------------------------------------------------------------


def test_no_card_is_missing() -> None:
    """Each card of the stand-in stands in exactly one of the tables."""
    tabled = [*PLAIN, *ROWS, *CANNOT_BE_SAVED]
    assert len(tabled) == len(set(tabled))
    assert set(tabled) == {card.name for card in CARDS}


GROUPS = [PLAIN[start : start + 7] for start in range(0, len(PLAIN), 7)]


@pytest.mark.parametrize("names", GROUPS, ids=["-".join(names) for names in GROUPS])
def test_cards_that_pay(traveller: Traveller, reconcile: Reconcile, page: Page, names: list[str]) -> None:
    """Each pays at once; and as a backup, tried again later, and after its holder was asked: on one PaymentIntent."""
    declining = traveller.save_card(SAVES_THEN_DECLINES)
    found = {}
    for name in names:
        card = traveller.save_card(f"pm_card_{name}")
        ok(traveller.api.patch(f"/payment-methods/{card['id']}", {"is_default": True}))
        first = begin(traveller, traveller.open_campaign())

        traveller.stripe.change_card(traveller.stripe_id(card), "processing_error", times=1)
        long = begin(traveller, traveller.open_campaign(payment_method_id=declining["id"], use_backups=True))
        assert long["status"] == "retry_scheduled", name
        traveller.stripe.change_card(traveller.stripe_id(card), "authentication_required", times=1)
        try_again(traveller, long, reconcile)
        assert traveller.booking(long)["status"] == "requires_action", name
        answer_the_bank(traveller, long, card, page, challenged=False)

        found[name] = [replace(settled(traveller, booking), cards=()) for booking in (first, long)]
        ok(traveller.api.delete(f"/payment-methods/{card['id']}"), 204)  # or it would be the next card's backup

    at_once = replace(expected(Does.PAYS, cards=()), cards=())
    at_last = replace(with_earlier(expected(Does.PAYS, cards=(), earlier_charges=3), "declined", "declined"), cards=())
    assert found == {name: [at_once, at_last] for name in names}


# --- every other card ------------------------------------------------------------------------------------------------

ALL_ROWS = ROWS | {f"bank: {code}": _turned(does) for code, does in BANK_TURNS.items()}
ROW = pytest.mark.parametrize("name", ALL_ROWS)


def save(traveller: Traveller, name: str) -> Json:
    """Save the card of a row; one that the bank turns on later is an ordinary Visa by now."""
    return traveller.save_card(VISA if name.startswith("bank: ") else f"pm_card_{name}")


def turn(traveller: Traveller, card: Json, name: str) -> None:
    """From now on the card does what its row says."""
    code = name.removeprefix("bank: ") if name.startswith("bank: ") else "document"
    traveller.stripe.change_card(traveller.stripe_id(card), code)


@ROW
def test_first_charge(traveller: Traveller, name: str) -> None:
    row = ALL_ROWS[name]
    turn(traveller, save(traveller, name), name)

    booking = begin(traveller, traveller.open_campaign())

    assert settled(traveller, booking) == expected(row.off_session, cards=(), after=row.after)


@ROW
def test_as_a_backup_after_a_first_decline_and_later(traveller: Traveller, reconcile: Reconcile, name: str) -> None:
    row = ALL_ROWS[name]
    first, card = traveller.save_card(SAVES_THEN_DECLINES), save(traveller, name)
    traveller.stripe.change_card(traveller.stripe_id(card), "processing_error", times=1)

    booking = begin(traveller, traveller.open_campaign(payment_method_id=first["id"], use_backups=True))
    turn(traveller, card, name)
    try_again(traveller, booking, reconcile)

    wanted = expected(row.off_session, cards=("usable",), earlier_charges=2, after=row.after)
    assert settled(traveller, booking) == with_earlier(wanted, "declined", "declined")


@pytest.mark.parametrize("name", [name for name, row in ALL_ROWS.items() if row.off_session is not Does.PAYS])
def test_first_charge_with_a_good_backup_at_hand(traveller: Traveller, name: str) -> None:
    """A refusal hands over to the next card at once; a suspicion of fraud or a question to the holder never does."""
    does = ALL_ROWS[name].off_session
    turn(traveller, save(traveller, name), name)
    traveller.save_card(VISA)

    booking = begin(traveller, traveller.open_campaign(use_backups=True))

    if does in (Does.FRAUD, Does.ASKS):
        alone = expected(does, cards=())
        assert settled(traveller, booking) == replace(alone, cards=(*alone.cards, "usable"))
    else:
        kept = "unusable" if does is Does.UNUSABLE else "usable"
        paid = with_earlier(expected(Does.PAYS, cards=(kept,), earlier_charges=1), "declined")
        told = ("booking_confirmed", "card_unusable") if does is Does.UNUSABLE else paid.told
        assert settled(traveller, booking) == replace(paid, told=told)


@ROW
def test_authentication_required_then_completed(traveller: Traveller, page: Page, name: str) -> None:
    """The bank wants the cardholder, who comes: from there on the card does what it does with its holder there."""
    row = ALL_ROWS[name]
    card = save(traveller, name)
    traveller.stripe.change_card(traveller.stripe_id(card), "authentication_required", times=1)
    booking = begin(traveller, traveller.open_campaign())
    assert booking["status"] == "requires_action"
    turn(traveller, card, name)

    answer_the_bank(traveller, booking, card, page, challenged=row.challenged)

    assert settled(traveller, booking) == expected(row.with_holder, cards=(), earlier_charges=1, after=row.after)


@pytest.mark.parametrize("card_name", ["visa", "mastercard", "authenticationRequired", "threeDSecure2Required"])
def test_authentication_failed_then_overdue(
    traveller: Traveller, page: Page, reconcile: Reconcile, card_name: str
) -> None:
    """Who fails may try again until the time is over; then the PaymentIntent is cancelled and the budget is free."""
    card = traveller.save_card(f"pm_card_{card_name}")
    traveller.stripe.change_card(traveller.stripe_id(card), "authentication_required")
    booking = begin(traveller, traveller.open_campaign())
    asked = expected(Does.ASKS, cards=(), earlier_charges=0)
    assert settled(traveller, booking) == asked

    for _ in range(2):
        page.authenticate(traveller, booking, card, "fail")
        assert settled(traveller, booking) == asked

    move_into_the_past(traveller, booking, "action_expires_at")
    (line,) = reconcile.due(booking)
    assert line["what"] == "authentication_overdue"
    assert settled(traveller, booking) == replace(
        expected(Does.DECLINES, cards=()), attempts=("voided",), charges=("failed",)
    )
    assert traveller.notified() == ["authentication_required", "booking_failed"]
    sentence = str(traveller.booking(booking)["user_message"])
    assert "in time" in sentence
    assert "nothing was charged" in sentence


def test_authentication_failed_then_completed(traveller: Traveller, page: Page) -> None:
    card = traveller.save_card("pm_card_authenticationRequired")
    booking = begin(traveller, traveller.open_campaign())
    page.authenticate(traveller, booking, card, "fail")
    traveller.stripe.flush()

    page.authenticate(traveller, booking, card, "succeed")

    assert settled(traveller, booking) == expected(Does.PAYS, cards=(), earlier_charges=1)
    assert traveller.booking(booking)["user_message"] is None


def test_authentication_with_another_card_than_was_asked_for(traveller: Traveller, page: Page) -> None:
    """On the page the cardholder may choose; the booking's PaymentIntent stays the same."""
    traveller.save_card("pm_card_authenticationRequired")
    other = traveller.save_card(VISA)
    booking = begin(traveller, traveller.open_campaign())
    assert booking["status"] == "requires_action"

    assert page.confirm(traveller, booking, other) == "succeeded"

    assert settled(traveller, booking) == expected(Does.PAYS, cards=("usable",), earlier_charges=1)


def test_overdue_at_the_moment_of_success_is_a_booking(
    traveller: Traveller, page: Page, reconcile: Reconcile, wire: Wire
) -> None:
    """The cardholder succeeds, nobody has told us yet, and the time is over: Stripe's word counts, not our clock."""
    card = traveller.save_card("pm_card_authenticationRequired")
    booking = begin(traveller, traveller.open_campaign())
    with wire.cut():
        page.authenticate(traveller, booking, card, "succeed")
    move_into_the_past(traveller, booking, "action_expires_at")

    reconcile.due(booking)

    assert settled(traveller, booking) == expected(Does.PAYS, cards=(), earlier_charges=1)


@pytest.mark.parametrize("name", CANNOT_BE_SAVED)
def test_a_card_that_cannot_be_saved_charges_nothing(traveller: Traveller, name: str) -> None:
    setup = traveller.begin_setup()
    with pytest.raises(stripe.CardError):
        traveller.stripe.confirm_setup(setup["client_secret"], f"pm_card_{name}")
    traveller.stripe.flush()

    shown = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))
    assert shown["status"] == "requires_payment_method"
    assert shown["error"]["user_message"]
    assert ok(traveller.api.get("/payment-methods"))["data"] == []
    assert traveller.notified() == ["card_setup_failed"]
    refused(traveller.charge(traveller.open_campaign(), traveller.offer()), 409, "no_usable_card")
