"""What SetupIntents and PaymentIntents have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.errors import StripeFault
from local.stripe.kinds import words

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_RETURN_URL = (
    "A `return_url` must be specified because this {what} is configured to automatically accept the payment methods "
    "enabled in the Dashboard, some of which may require a full page redirect to succeed. If you do not want to accept "
    "redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents."
)


def client_secret(world: StripeWorld, intent_id: str) -> str:
    """``pi_…_secret_…``."""
    return f"{intent_id}_secret_{world.ids.secret()}"


def payment_method_settings(given: Json) -> Json:
    """Which payment methods an intent takes: those named, or the Dashboard's when nothing is named."""
    allowed = given.get("allowed_payment_method_types") or None
    automatic = given.get("automatic_payment_methods")
    if automatic is None and allowed is None:
        automatic = {"enabled": True}
    if automatic is not None:
        automatic = {"allow_redirects": "always", **automatic}
    if allowed is not None and "card" not in allowed:
        message = "The local Stripe stand-in only implements card payments."
        param = "allowed_payment_method_types"
        raise StripeFault(message, status=501, kind="api_error", param=param, remembered=False)
    return {
        "allowed_payment_method_types": allowed,
        "automatic_payment_methods": automatic,
        "payment_method_types": allowed or ["card"],
    }


def check_return_url(intent: Json, call: Call, what: str) -> None:
    """400 when a server confirms an intent that might redirect, without saying where to."""
    automatic = intent["automatic_payment_methods"] or {}
    redirects = automatic.get("enabled") and automatic.get("allow_redirects") != "never"
    if redirects and not call.client and "return_url" not in call.params and not call.params.get("use_stripe_sdk"):
        raise StripeFault(_RETURN_URL.format(what=what), param="return_url")


def challenge(intent: Json, call: Call) -> Json:
    """``next_action`` of a 3D Secure challenge: a page to go to, or one for Stripe.js to open.

    Either way the address is this server's ``/_3ds/…`` page; Stripe.js gets it in ``use_stripe_sdk.stripe_js``.
    """
    url = f"{call.base_url}/_3ds/{intent['id']}?client_secret={intent['client_secret']}"
    return_url = call.params.get("return_url")
    if return_url is not None and not call.params.get("use_stripe_sdk"):
        return {"redirect_to_url": {"return_url": return_url, "url": url}, "type": "redirect_to_url"}
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"stripe_js": url, "source": f"src_{intent['id']}", "type": "three_d_secure_redirect"},
    }


_PUBLIC_FIELDS = frozenset(
    words("""
    id object amount amount_details automatic_payment_methods canceled_at cancellation_reason capture_method
    client_secret confirmation_method created currency description last_payment_error last_setup_error livemode
    next_action payment_method payment_method_configuration_details payment_method_types processing receipt_email
    setup_future_usage shipping status usage
    """)
)


def for_client(intent: Json) -> Json:
    """What the publishable key may see of an intent: nothing of the customer, the metadata or the charges."""
    return {key: value for key, value in intent.items() if key in _PUBLIC_FIELDS}
