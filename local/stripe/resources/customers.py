"""Customers (https://docs.stripe.com/api/customers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.errors import missing_resource
from local.stripe.fields import address, changes, merged_metadata, refuse_unsupported, shipping
from local.stripe.resources import payment_methods
from local.stripe.routing import Route, route
from local.stripe.searching import search

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_PLAIN = ("name", "email", "phone", "description", "business_name", "individual_name")
_KNOWN = {*_PLAIN, "address", "shipping", "metadata", "preferred_locales", "tax_exempt", "invoice_settings"}


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/customers``."""
    given = call.params
    refuse_unsupported(given, {*_KNOWN, "payment_method", "balance"})
    customer: Json = {
        "id": world.ids.new("cus"),
        "object": "customer",
        "address": None,
        "balance": given.get("balance", 0),
        "created": world.clock.timestamp(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": world.ids.secret(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    _apply(world, customer, given)
    world.customers.add(customer)
    world.emit("customer.created", customer)
    if "payment_method" in given:
        method = payment_methods.resolve(world, given["payment_method"], "payment_method")
        payment_methods.attach_to(world, method, customer["id"])
    return customer


def _apply(world: StripeWorld, customer: Json, given: Json) -> None:
    for name in _PLAIN:
        if name in given:
            customer[name] = given[name] or None
    if "address" in given:
        customer["address"] = address(given["address"])
    if "shipping" in given:
        customer["shipping"] = shipping(given["shipping"])
    if "preferred_locales" in given:
        customer["preferred_locales"] = given["preferred_locales"]
    if "tax_exempt" in given:
        customer["tax_exempt"] = given["tax_exempt"] or "none"
    customer["metadata"] = merged_metadata(customer["metadata"], given.get("metadata"))
    settings = given.get("invoice_settings", {})
    refuse_unsupported(settings, {"default_payment_method"})
    if "default_payment_method" in settings:
        wanted = settings["default_payment_method"] or None
        if wanted is not None:
            method = world.payment_methods.in_param(wanted, "invoice_settings[default_payment_method]")
            if method["customer"] != customer["id"]:
                message_param = "invoice_settings[default_payment_method]"
                raise payment_methods.not_of_customer(wanted, message_param)
        customer["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": wanted}


def _at_path(world: StripeWorld, call: Call) -> Json:
    customer = world.customers.at_path(call.id)
    if customer.get("deleted"):
        raise missing_resource("customer", call.id, "id", in_path=True)
    return customer


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/customers/{}``: a deleted customer still answers, with ``deleted``."""
    return world.customers.at_path(call.id)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/customers/{}``."""
    customer = _at_path(world, call)
    refuse_unsupported(call.params, _KNOWN)
    before = dict(customer)
    _apply(world, customer, call.params)
    if changed := changes(before, customer):
        world.emit("customer.updated", customer, changed)
    return customer


def delete(world: StripeWorld, call: Call) -> Json:
    """``DELETE /v1/customers/{}``: the customer's cards are detached with it."""
    customer = _at_path(world, call)
    for method in list(world.payment_methods):
        if method["customer"] == call.id:
            payment_methods.detach_from(world, method)
    world.emit("customer.deleted", customer)
    gone = {"id": call.id, "object": "customer", "deleted": True}
    customer.clear()
    customer.update(gone)
    return gone


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/customers``."""
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", "email"})
    email = call.params.get("email")

    def keep(row: Json) -> bool:
        return not row.get("deleted") and (email is None or row["email"] == email)

    return world.customers.page(call.params, "/v1/customers", keep)


def search_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/customers/search`` (https://docs.stripe.com/search#query-fields-for-customers)."""
    rows = [row for row in world.customers if not row.get("deleted")]
    return search(world, rows, call, {"created", "email", "metadata", "name", "phone"}, "/v1/customers/search")


ROUTES: list[Route] = [
    route("POST", "/v1/customers", sdk.CustomerCreateParams, create),
    route("GET", "/v1/customers", sdk.CustomerListParams, list_all),
    route("GET", "/v1/customers/search", sdk.CustomerSearchParams, search_all),
    route("GET", "/v1/customers/{}", sdk.CustomerRetrieveParams, retrieve),
    route("POST", "/v1/customers/{}", sdk.CustomerUpdateParams, update),
    route("DELETE", "/v1/customers/{}", sdk.CustomerDeleteParams, delete),
]
