"""Payment methods, which here are cards (https://docs.stripe.com/api/payment_methods)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.cards import BY_NUMBER, TestCard, card_for_token
from local.stripe.errors import StripeFault, missing_param, missing_resource
from local.stripe.fields import address, changes, merged_metadata, refuse_unsupported
from local.stripe.issuer import CardState, judge_attach
from local.stripe.lookup import customer_in_param
from local.stripe.refusals import card_error
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_KNOWN = {"type", "card", "billing_details", "metadata", "allow_redisplay", "radar_options"}
_USED_UP = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a "
    "connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use "
    "a PaymentMethod multiple times, you must attach it to a Customer first."
)


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_methods`` from a test number or a ``tok_…``, by either key."""
    return from_data(world, call.params, "")


def from_data(world: StripeWorld, given: Json, where: str) -> Json:
    """A payment method of ``payment_method_data`` or of a create call; ``where`` prefixes ``param`` in errors."""
    refuse_unsupported(given, _KNOWN)
    if "type" not in given:
        raise missing_param(_in(where, "type"))
    if given["type"] != "card":
        message = f"The local Stripe stand-in does not implement payment methods of type {given['type']!r}."
        raise StripeFault(message, status=501, kind="api_error", param=_in(where, "type"), remembered=False)
    if "card" not in given:
        raise missing_param(_in(where, "card"))
    card = given["card"]
    if "token" in card:
        test_card = card_for_token(card["token"])
        if test_card is None or not card["token"].startswith("tok_"):
            raise missing_resource("token", card["token"], _in(where, "card[token]"), in_path=False)
        method = _new(world, test_card, *_default_expiry(world))
    else:
        method = _from_number(world, card, where)
    details = given.get("billing_details", {})
    method["billing_details"] = _billing(method["billing_details"], details)
    _show_checks(world, method, with_cvc="cvc" in card)
    method["metadata"] = merged_metadata({}, given.get("metadata"))
    method["allow_redisplay"] = given.get("allow_redisplay", "unspecified")
    return method


def _in(where: str, name: str) -> str:
    if not where:
        return name
    head, bracket, tail = name.partition("[")
    return f"{where}[{head}]{bracket}{tail}"


def _default_expiry(world: StripeWorld) -> tuple[int, int]:
    """Test tokens expire a year from now, as Stripe's do."""
    year, month = _this_month(world)
    return month, year + 1


def _from_number(world: StripeWorld, card: Json, where: str) -> Json:
    if "number" not in card:
        raise missing_param(_in(where, "card[number]"))
    for part in ("exp_month", "exp_year"):
        if part not in card:
            raise missing_param(_in(where, f"card[{part}]"))
    test_card = BY_NUMBER.get("".join(card["number"].split()))
    if test_card is None:
        raise _field_error("incorrect_number", "Your card number is incorrect.", "number")
    month, year = card["exp_month"], card["exp_year"]
    if not 1 <= month <= 12:
        raise _field_error("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    year += 2000 if year < 100 else 0
    if (year, month) < _this_month(world) or year > 2100:
        raise _field_error("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    cvc = card.get("cvc")
    if cvc is not None and not (cvc.isdigit() and len(cvc) in ((4, 3) if test_card.brand == "amex" else (3,))):
        raise _field_error("invalid_cvc", "Your card's security code is invalid.", "cvc")
    return _new(world, test_card, month, year)


def _this_month(world: StripeWorld) -> tuple[int, int]:
    now = datetime.fromtimestamp(world.clock.now(), UTC)
    return now.year, now.month


def _field_error(code: str, message: str, param: str) -> StripeFault:
    return StripeFault(message, status=402, kind="card_error", code=code, param=param)


def _new(world: StripeWorld, card: TestCard, exp_month: int, exp_year: int) -> Json:
    method: Json = {
        "id": world.ids.new("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": None},
            "country": card.country,
            "display_brand": {"amex": "american_express", "diners": "diners_club"}.get(card.brand, card.brand),
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": world.ids.fingerprint(card.number),
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": card.three_ds != "not_supported"},
            "wallet": None,
        },
        "created": world.clock.timestamp(),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    method["billing_details"]["address"] = address({"city": None})
    world.cards[method["id"]] = CardState(card)
    _show_checks(world, method, with_cvc=False)
    return world.payment_methods.add(method)


def _show_checks(world: StripeWorld, method: Json, *, with_cvc: bool) -> None:
    """``card.checks``: what was given is checked when a bank is asked; the failing test cards show it at once."""
    card = world.cards[method["id"]].card
    where = method["billing_details"]["address"] or {}
    given = {
        "cvc_check": with_cvc,
        "address_line1_check": bool(where.get("line1")),
        "address_postal_code_check": bool(where.get("postal_code")),
    }
    for name, was_given in given.items():
        if name in card.unavailable_checks:
            method["card"]["checks"][name] = "unavailable"
        elif was_given or (name == "cvc_check" and name in card.failing_checks):
            method["card"]["checks"][name] = "fail" if name in card.failing_checks else "pass"


def _billing(current: Json, given: Json) -> Json:
    merged = {**current}
    for name, value in given.items():
        if name == "address":
            merged["address"] = address(value) or address({"city": None})
        else:
            merged[name] = value or None
    return merged


def resolve(world: StripeWorld, method_id: str, param: str, *, in_path: bool = False) -> Json:
    """The payment method of an id; a ``pm_card_…`` makes a new one, as at Stripe."""
    if method_id.startswith("pm_card_"):
        card = card_for_token(method_id)
        if card is not None:
            return _new(world, card, *_default_expiry(world))
    method = world.payment_methods.find(method_id)
    if method is None:
        raise missing_resource("PaymentMethod", method_id, param, in_path=in_path)
    return method


def not_of_customer(method_id: str, param: str) -> StripeFault:
    """400 for a card that isn't the customer's."""
    message = (
        f"The customer does not have a payment method with the ID {method_id}. The payment method must be attached to "
        "the customer."
    )
    return StripeFault(message, code="resource_missing", param=param)


def check_usable(world: StripeWorld, method: Json, customer_id: str | None, *, must_be_attached: bool) -> None:
    """400 unless a payment method may be used with a customer: not another's, not detached, not used up."""
    state = world.cards[method["id"]]
    owner = method["customer"]
    if owner is not None and customer_id is None:
        message = (
            f"The provided PaymentMethod cannot be used without its Customer: {method['id']} belongs to the Customer "
            f"{owner}. Please include the Customer in the `customer` parameter."
        )
        raise StripeFault(message, param="payment_method")
    if owner is not None and owner != customer_id:
        raise not_of_customer(method["id"], "payment_method")
    if state.detached or state.consumed:
        raise StripeFault(_USED_UP, param="payment_method")
    if owner is None and must_be_attached:
        raise not_of_customer(method["id"], "payment_method")


def attach(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_methods/{}/attach``."""
    if "customer" not in call.params:
        raise missing_param("customer")
    refuse_unsupported(call.params, {"customer"})
    method = resolve(world, call.id, "payment_method", in_path=True)
    customer = customer_in_param(world, call.params["customer"])
    if method["customer"] is not None and method["customer"] != customer["id"]:
        message = "The payment method you provided has already been attached to a customer."
        raise StripeFault(message, param="payment_method")
    state = world.cards[method["id"]]
    if state.detached or state.consumed:
        raise StripeFault(_USED_UP, param="payment_method")
    verdict = judge_attach(state)
    if verdict.decline is not None:
        raise card_error(verdict.decline)
    attach_to(world, method, customer["id"])
    return method


def attach_to(world: StripeWorld, method: Json, customer_id: str) -> None:
    """Make a card the customer's, once."""
    if method["customer"] is None:
        method["customer"] = customer_id
        world.emit("payment_method.attached", method)


def detach_from(world: StripeWorld, method: Json) -> None:
    """Take a card from its customer for good."""
    owner = method["customer"]
    method["customer"] = None
    world.cards[method["id"]].detached = True
    customer = world.customers.find(owner)
    if customer is not None and not customer.get("deleted"):
        settings = customer["invoice_settings"]
        if settings["default_payment_method"] == method["id"]:
            customer["invoice_settings"] = {**settings, "default_payment_method": None}
    world.emit("payment_method.detached", method, {"customer": owner})


def detach(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_methods/{}/detach``."""
    method = world.payment_methods.at_path(call.id)
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise StripeFault(message, param="payment_method")
    detach_from(world, method)
    return method


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/payment_methods/{}``."""
    return resolve(world, call.id, "payment_method", in_path=True)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_methods/{}``: billing details, metadata, and a card's expiry."""
    method = world.payment_methods.at_path(call.id)
    refuse_unsupported(call.params, {"billing_details", "metadata", "card", "allow_redisplay"})
    if method["customer"] is None:
        message = (
            "You must save this PaymentMethod to a customer before you can update it. Please see "
            "https://stripe.com/docs/payments/save-and-reuse for details."
        )
        raise StripeFault(message, param="payment_method")
    before = dict(method)
    method["billing_details"] = _billing(method["billing_details"], call.params.get("billing_details", {}))
    method["metadata"] = merged_metadata(method["metadata"], call.params.get("metadata"))
    method["allow_redisplay"] = call.params.get("allow_redisplay", method["allow_redisplay"])
    card = call.params.get("card", {})
    refuse_unsupported(card, {"exp_month", "exp_year"})
    method["card"] = {**method["card"], **card}
    world.emit("payment_method.updated", method, changes(before, method))
    return method


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/payment_methods`` and ``GET /v1/customers/{}/payment_methods``."""
    known = {"limit", "starting_after", "ending_before", "customer", "type", "allow_redisplay"}
    refuse_unsupported(call.params, known)
    owner = call.ids[0] if call.ids else call.params.get("customer")
    if call.ids:
        world.customers.at_path(call.id)
    elif owner is None:
        raise missing_param("customer")
    else:
        customer_in_param(world, owner)

    def keep(row: Json) -> bool:
        return bool(
            row["customer"] == owner
            and call.params.get("type", "card") == row["type"]
            and call.params.get("allow_redisplay", row["allow_redisplay"]) == row["allow_redisplay"]
        )

    return world.payment_methods.page(call.params, call.path, keep)


def retrieve_of_customer(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/customers/{}/payment_methods/{}``."""
    world.customers.at_path(call.id)
    method = world.payment_methods.at_path(call.ids[1])
    if method["customer"] != call.id:
        raise missing_resource("PaymentMethod", call.ids[1], "payment_method", in_path=True)
    return method


ROUTES: list[Route] = [
    route("POST", "/v1/payment_methods", sdk.PaymentMethodCreateParams, create, client=True),
    route("GET", "/v1/payment_methods", sdk.PaymentMethodListParams, list_all),
    route("GET", "/v1/payment_methods/{}", sdk.PaymentMethodRetrieveParams, retrieve),
    route("POST", "/v1/payment_methods/{}", sdk.PaymentMethodUpdateParams, update),
    route("POST", "/v1/payment_methods/{}/attach", sdk.PaymentMethodAttachParams, attach),
    route("POST", "/v1/payment_methods/{}/detach", sdk.PaymentMethodDetachParams, detach),
    route("GET", "/v1/customers/{}/payment_methods", sdk.CustomerPaymentMethodListParams, list_all),
    route(
        "GET",
        "/v1/customers/{}/payment_methods/{}",
        sdk.CustomerPaymentMethodRetrieveParams,
        retrieve_of_customer,
    ),
]
