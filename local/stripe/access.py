"""API keys (https://docs.stripe.com/keys): who may call what."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING, Literal

from local.stripe.errors import StripeFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.stripe.kinds import Json
    from local.stripe.settings import Settings

# The dashboard has one permission for "Charges and Refunds" and one for webhook endpoints.
_PERMISSIONS = {"refunds": "charge", "webhook_endpoints": "webhook"}
_NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "
    "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or "
    "we can help at https://support.stripe.com/."
)
_NEEDS_SECRET = (
    "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list of "
    "your API keys at https://dashboard.stripe.com/account/apikeys."
)


def key_of(headers: Mapping[str, str], params: Json) -> str | None:
    """The key of a request: Bearer, Basic with the key as user name, or Stripe.js' ``key`` parameter."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    given = params.pop("key", None)
    return given if isinstance(given, str) else None


def who(key: str | None, settings: Settings) -> Literal["secret", "publishable", "restricted"]:
    """Whose key it is; 401 for none or an unknown one, which is shown masked."""
    if not key:
        raise StripeFault(_NO_KEY, status=401, remembered=False)
    if hmac.compare_digest(key.encode(), settings.secret_key.encode()):
        return "secret"
    if hmac.compare_digest(key.encode(), settings.publishable_key.encode()):
        return "publishable"
    if any(hmac.compare_digest(key.encode(), restricted.encode()) for restricted in settings.restricted_keys):
        return "restricted"
    masked = key[:8] + "*" * max(0, len(key) - 12) + key[-4:] if len(key) > 12 else "*" * len(key)
    raise StripeFault(f"Invalid API Key provided: {masked}", status=401, remembered=False)


def check_permission(key: str, method: str, path: str, settings: Settings) -> None:
    """403 for what a restricted key may not do (https://docs.stripe.com/keys/restricted-api-keys)."""
    resource = path.split("/")[2]
    name = _PERMISSIONS.get(resource, resource.removesuffix("s"))
    granted = settings.restricted_keys[key]
    if f"{name}_write" in granted or (method == "GET" and f"{name}_read" in granted):
        return
    wanted = f"rak_{name}_{'read' if method == 'GET' else 'write'}"
    message = (
        f"The provided key '{key[:8]}{'*' * 6}{key[-4:]}' does not have the required permissions for this endpoint on "
        f"account '{settings.account_id}'. Having the '{wanted}' permission would allow this request to continue."
    )
    raise StripeFault(message, status=403, remembered=False)


def refuse_publishable() -> StripeFault:
    """The answer to a publishable key on a server's route."""
    return StripeFault(_NEEDS_SECRET, status=401, code="secret_key_required", remembered=False)


def check_client_secret(intent: Json, given: object) -> None:
    """Stripe.js may touch an intent only with its client secret."""
    secret = given if isinstance(given, str) else ""
    if not hmac.compare_digest(secret.encode(), intent["client_secret"].encode()):
        kind = "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"
        message = (
            f"The client_secret provided does not match any associated {kind} on this account. Ensure the publishable "
            f"key used belongs to the same account that created the {kind}."
        )
        code = f"{intent['object']}_invalid_parameter"
        raise StripeFault(message, code=code, param="client_secret", remembered=False)
