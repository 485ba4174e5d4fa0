"""Saving a card: consent in, Stripe.js in the middle, the card out, by polling or by webhook."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe

from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.travellers import (
    ASKS_UNLESS_SET_UP,
    CONSENT,
    MASTERCARD,
    VISA,
    MakeTraveller,
    Traveller,
)


def cards(traveller: Traveller) -> list[dict[str, object]]:
    """The traveller's cards as the API lists them."""
    listed: list[dict[str, object]] = ok(traveller.api.get("/payment-methods"))["data"]
    return listed


def test_a_setup_is_for_charging_off_session_with_the_consent_given(
    traveller: Traveller, stripe_side: StripeSide
) -> None:
    setup = traveller.begin_setup()

    assert set(setup) == {"id", "client_secret", "publishable_key", "status"}
    assert setup["status"] == "requires_payment_method"
    assert setup["publishable_key"].startswith("pk_test_")
    intent = stripe_side.sdk.v1.setup_intents.retrieve(setup["id"])
    assert intent.usage == "off_session"
    assert intent.client_secret == setup["client_secret"]
    assert intent.customer == traveller.customer_id
    customer = stripe_side.sdk.v1.customers.retrieve(traveller.customer_id)
    assert customer.email == traveller.user.email
    assert customer.metadata is not None
    assert customer.metadata["user_id"] == traveller.id
    consents = traveller.rows(
        "select terms_version, consented_at is not null from public.setup_intents where user_id = %s", traveller.id
    )
    assert consents == [("2026-10", True)]


def test_a_3ds_card_is_saved_by_polling_before_the_webhook_comes(traveller: Traveller, stripe_side: StripeSide) -> None:
    stripe_side.hold()
    setup = traveller.begin_setup()
    assert stripe_side.confirm_setup(setup["client_secret"], ASKS_UNLESS_SET_UP) == "requires_action"
    waiting = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))
    assert waiting == {"id": setup["id"], "status": "requires_action"}
    assert cards(traveller) == []

    stripe_side.authenticate(setup["id"])
    saved = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))

    assert saved["status"] == "succeeded"
    card = saved["payment_method"]
    assert (card["brand"], card["last4"], card["country"], card["status"]) == ("visa", "3155", "FR", "usable")
    assert card["is_default"] is True
    assert cards(traveller) == [card]


def test_the_webhook_is_harmless_after_polling(traveller: Traveller, stripe_side: StripeSide) -> None:
    stripe_side.hold()
    card = traveller.save_card()
    audited = "select count(*) from public.audit_log where row_id = %s"
    before = traveller.rows(audited, card["id"])

    stripe_side.flush()

    assert cards(traveller) == [card]
    assert traveller.rows(audited, card["id"]) == before
    setup_id = traveller.rows("select id from public.setup_intents where user_id = %s", traveller.id)[0][0]
    events = traveller.rows(
        "select status::text, result from public.stripe_events where object_id = %s and type = %s",
        setup_id,
        "setup_intent.succeeded",
    )
    assert events == [("applied", "already_succeeded")]


def test_the_webhook_alone_saves_the_card(traveller: Traveller, stripe_side: StripeSide) -> None:
    setup = traveller.begin_setup()
    stripe_side.confirm_setup(setup["client_secret"], VISA)

    stripe_side.flush()

    (card,) = cards(traveller)
    assert (card["last4"], card["is_default"]) == ("4242", True)
    assert ok(traveller.api.get(f"/setup-intent/{setup['id']}"))["payment_method"] == card


def test_the_first_card_becomes_the_default_and_later_ones_do_not(traveller: Traveller) -> None:
    first = traveller.save_card(VISA)
    second = traveller.save_card(MASTERCARD)

    assert first["is_default"] is True
    assert second["is_default"] is False
    assert {card["id"]: card["is_default"] for card in cards(traveller)} == {first["id"]: True, second["id"]: False}


def test_campaigns_that_wait_for_a_card_take_the_first(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    assert campaign["payment_method_id"] is None

    card = traveller.save_card()

    assert traveller.campaign(campaign)["payment_method_id"] == card["id"]


def test_a_card_that_the_bank_refuses_is_not_saved_and_says_why(traveller: Traveller, stripe_side: StripeSide) -> None:
    setup = traveller.begin_setup()
    with pytest.raises(stripe.CardError):
        stripe_side.confirm_setup(setup["client_secret"], "pm_card_visa_chargeDeclinedInsufficientFunds")

    shown = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))

    assert shown["status"] == "requires_payment_method"
    assert "not enough money" in shown["error"]["user_message"]
    assert "payment_method" not in shown
    stripe_side.flush()
    assert cards(traveller) == []
    assert traveller.notified() == ["card_setup_failed"]


def test_a_stolen_card_is_refused_in_words_that_do_not_say_so(traveller: Traveller, stripe_side: StripeSide) -> None:
    setup = traveller.begin_setup()
    with pytest.raises(stripe.CardError):
        stripe_side.confirm_setup(setup["client_secret"], "pm_card_visa_chargeDeclinedStolenCard")

    shown = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))

    assert shown["error"]["user_message"]
    assert not any(word in str(shown).lower() for word in ("stolen", "lost", "fraud"))


def test_a_failed_authentication_saves_nothing_and_can_be_tried_again(
    traveller: Traveller, stripe_side: StripeSide
) -> None:
    setup = traveller.begin_setup()
    stripe_side.confirm_setup(setup["client_secret"], ASKS_UNLESS_SET_UP)
    stripe_side.authenticate(setup["id"], "fail")
    failed = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))
    assert failed["status"] == "requires_payment_method"
    assert failed["error"]["user_message"]
    assert cards(traveller) == []

    stripe_side.confirm_setup(setup["client_secret"], VISA)
    saved = ok(traveller.api.get(f"/setup-intent/{setup['id']}"))

    assert saved["status"] == "succeeded"
    assert "error" not in saved
    assert [card["id"] for card in cards(traveller)] == [saved["payment_method"]["id"]]


def test_another_users_setup_is_a_404_like_one_that_never_was(make_traveller: MakeTraveller) -> None:
    owner, stranger = make_traveller(), make_traveller()
    setup = owner.begin_setup()

    theirs = refused(stranger.api.get(f"/setup-intent/{setup['id']}"), 404, "setup_intent_not_found")
    nobodys = refused(stranger.api.get("/setup-intent/seti_1NotThere"), 404, "setup_intent_not_found")

    assert theirs == nobodys


def test_a_setup_without_consent_is_nobodys(traveller: Traveller, stripe_side: StripeSide) -> None:
    traveller.begin_setup()
    foreign = stripe_side.sdk.v1.setup_intents.create(
        {
            "customer": traveller.customer_id,
            "allowed_payment_method_types": ["card"],
            "usage": "off_session",
            "payment_method": VISA,
            "confirm": True,
        }
    )

    stripe_side.flush()

    assert foreign.status == "succeeded"
    refused(traveller.api.get(f"/setup-intent/{foreign.id}"), 404, "setup_intent_not_found")
    assert cards(traveller) == []
    events = traveller.rows(
        "select status::text, result from public.stripe_events where object_id = %s and type = %s",
        foreign.id,
        "setup_intent.succeeded",
    )
    assert events == [("ignored", "without_consent")]


def test_the_same_key_is_the_same_setup(traveller: Traveller) -> None:
    first = traveller.begin_setup(idempotency_key="save-my-card")
    again = traveller.begin_setup(idempotency_key="save-my-card")
    other = traveller.begin_setup(idempotency_key="save-another")

    assert again == first
    assert other["id"] != first["id"]


def test_the_same_key_with_another_body_is_refused(traveller: Traveller) -> None:
    traveller.begin_setup(idempotency_key="save-my-card")

    changed = traveller.api.post(
        "/setup-intent", {"consent": {"terms_version": "2027-01"}}, idempotency_key="save-my-card"
    )

    refused(changed, 409, "idempotency_key_reused")


def test_two_users_may_choose_the_same_key(make_traveller: MakeTraveller) -> None:
    first = make_traveller().begin_setup(idempotency_key="1")
    second = make_traveller().begin_setup(idempotency_key="1")

    assert first["id"] != second["id"]


def test_many_first_setups_at_once_make_one_customer(traveller: Traveller, stripe_side: StripeSide) -> None:
    with ThreadPoolExecutor(8) as threads:
        setups = list(threads.map(lambda _: traveller.begin_setup(), range(8)))

    assert len({setup["id"] for setup in setups}) == 8
    owners = {stripe_side.sdk.v1.setup_intents.retrieve(setup["id"]).customer for setup in setups}
    assert owners == {traveller.customer_id}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, 400, "missing_body"),
        (b"{", 400, "malformed_json"),
        ({}, 422, "invalid_request"),
        ({"consent": None}, 422, "invalid_request"),
        ({"consent": {}}, 422, "invalid_request"),
        ({"consent": {"terms_version": ""}}, 422, "invalid_request"),
        ({"consent": {"terms_version": 3}}, 422, "invalid_request"),
        ({"consent": {"terms_version": "a b"}}, 422, "invalid_request"),
        (CONSENT | {"customer": "cus_1"}, 422, "invalid_request"),
        ([CONSENT], 422, "invalid_request"),
    ],
)
def test_without_consent_nothing_is_begun(traveller: Traveller, body: object, status: int, code: str) -> None:
    refused(traveller.api.post("/setup-intent", body), status, code)

    assert traveller.rows("select 1 from public.customers where user_id = %s", traveller.id) == []


def test_a_key_that_is_no_key_is_refused(traveller: Traveller) -> None:
    refused(traveller.api.post("/setup-intent", CONSENT, idempotency_key="two words"), 422, "invalid_request")


def test_saving_a_card_needs_a_user(anonymous: Caller, machine: Caller) -> None:
    for caller in (anonymous, machine):
        challenge = caller.post("/setup-intent", CONSENT)
        refused(challenge, 401, "unauthenticated")
        assert challenge.headers["www-authenticate"] == "Bearer"
        refused(caller.get("/setup-intent/seti_1"), 401, "unauthenticated")


def test_stripe_out_of_reach_is_a_503_and_leaves_nothing(traveller: Traveller, stripe_side: StripeSide) -> None:
    stripe_side.fault("drop_before", match="/v1/customers")

    answer = traveller.api.post("/setup-intent", CONSENT)

    refused(answer, 503, "payment_provider_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert traveller.rows("select 1 from public.customers where user_id = %s", traveller.id) == []
    assert traveller.begin_setup()["status"] == "requires_payment_method"
