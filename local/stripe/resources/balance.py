"""The account, its balance and its balance transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.fields import refuse_unsupported
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

# A round European card price (https://stripe.com/pricing): 1.5 % and 25 minor units.
_FEE_PER_MILLE, _FEE_FIXED_MINOR = 15, 25
_PENDING_SECONDS = 7 * 24 * 3600
_CATEGORIES = {"charge": "charge", "refund": "refund", "refund_failure": "refund_failure", "adjustment": "dispute"}


def fee_minor(amount_minor: int) -> int:
    """What Stripe keeps of a charge."""
    return amount_minor * _FEE_PER_MILLE // 1000 + _FEE_FIXED_MINOR


def record(world: StripeWorld, kind: str, amount_minor: int, source: Json, *, fee: int | None = None) -> Json:
    """Book a movement; charges pay a fee, the rest only what is given. Kept in the charge's own currency."""
    paid = fee if fee is not None else fee_minor(amount_minor) if kind == "charge" else 0
    now, currency = world.clock.timestamp(), source["currency"]
    details = [
        {
            "amount": paid,
            "application": None,
            "currency": currency,
            "description": "Dispute fee" if kind == "adjustment" else "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    return world.balance_transactions.add(
        {
            "id": world.ids.new("txn"),
            "object": "balance_transaction",
            "amount": amount_minor,
            "available_on": now + _PENDING_SECONDS,
            "balance_type": "payments",
            "created": now,
            "currency": currency,
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": paid,
            "fee_details": details if paid else [],
            "net": amount_minor - paid,
            "reporting_category": _CATEGORIES[kind],
            "source": source["id"],
            "status": "pending",
            "type": kind,
        }
    )


def show(world: StripeWorld, _: Call) -> Json:
    """``GET /v1/balance``: what has been booked, per currency; available once its day has come."""
    now = world.clock.timestamp()
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for row in world.balance_transactions:
        side = sums["available" if row["available_on"] <= now else "pending"]
        side[row["currency"]] = side.get(row["currency"], 0) + row["net"]
    home = world.settings.settlement_currency
    return {
        "object": "balance",
        "available": _amounts(sums["available"], home),
        "livemode": False,
        "pending": _amounts(sums["pending"], home),
    }


def _amounts(sums: dict[str, int], home: str) -> list[Json]:
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted({home: 0, **sums}.items())
    ]


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/balance_transactions/{}``."""
    return world.balance_transactions.at_path(call.id)


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/balance_transactions``."""
    filters = {"source", "type", "currency"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.balance_transactions.page(call.params, "/v1/balance_transactions", keep)


def account(world: StripeWorld, _: Call) -> Json:
    """``GET /v1/account``: a standard account that may charge cards."""
    settings = world.settings
    name = "Autobook (local stand-in)"
    no_descriptors = {"statement_descriptor_prefix_kana": None, "statement_descriptor_prefix_kanji": None}
    nothing_due: Json = {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": [],
        "disabled_reason": None,
        "errors": [],
        "eventually_due": [],
        "past_due": [],
        "pending_verification": [],
    }
    return {
        "id": settings.account_id,
        "object": "account",
        "business_profile": {"mcc": None, "name": name, "support_email": None, "support_phone": None, "url": None},
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": settings.account_country,
        "created": 1_700_000_000,
        "default_currency": settings.settlement_currency,
        "details_submitted": True,
        "email": "owner@example.com",
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{settings.account_id}/external_accounts",
        },
        "future_requirements": dict(nothing_due),
        "metadata": {},
        "payouts_enabled": True,
        "requirements": nothing_due,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {"statement_descriptor_prefix": "AUTOBOOK", **no_descriptors},
            "dashboard": {"display_name": name, "timezone": "Etc/UTC"},
            "payments": {
                "statement_descriptor": "AUTOBOOK",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
                **no_descriptors,
            },
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }


ROUTES: list[Route] = [
    route("GET", "/v1/account", sdk.AccountRetrieveCurrentParams, account),
    route("GET", "/v1/balance", sdk.BalanceRetrieveParams, show),
    route("GET", "/v1/balance_transactions", sdk.BalanceTransactionListParams, list_all),
    route("GET", "/v1/balance_transactions/{}", sdk.BalanceTransactionRetrieveParams, retrieve),
]
