"""Does Stripe know the key, may the key do enough, do both mean the same mode, version and time?"""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from functions.shared.stripe_sdk import stripe
from local.doctor.finding import Finding, fail, ok, unknown, warn
from local.doctor.patient import Patient

CLOCK_WARN_SECONDS, CLOCK_FAIL_SECONDS = 5.0, 60.0
"""Signatures are good for 300 seconds to either side; a minute off is a machine without NTP."""
_NOBODY = "autobook_doctor"
_PROBES = {
    "customers: write": ("POST", f"/v1/customers/cus_{_NOBODY}"),
    "payment_methods: write": ("POST", f"/v1/payment_methods/pm_{_NOBODY}/detach"),
    "setup_intents: write": ("POST", f"/v1/setup_intents/seti_{_NOBODY}/cancel"),
    "payment_intents: write": ("POST", f"/v1/payment_intents/pi_{_NOBODY}/cancel"),
    "charges: read": ("GET", f"/v1/charges/ch_{_NOBODY}"),
    "refunds: write": ("POST", f"/v1/refunds/re_{_NOBODY}"),
    "events: read": ("GET", f"/v1/events/evt_{_NOBODY}"),
}
"""What the functions call, asked of objects that do not exist: permission is judged first, so 403 or 404 tells, and
nothing can change. https://docs.stripe.com/keys/restricted-api-keys"""


def key_is_known(patient: Patient) -> Iterator[Finding]:
    """Stripe answers, takes the key, and our clocks agree."""
    if patient.stripe is None:
        yield unknown("stripe.key", "there is no usable STRIPE_SECRET_KEY", "see settings.stripe")
        return
    try:
        asked_at = time.time()
        answer = _ask(patient, "GET", "/v1/account")
    except httpx.HTTPError as error:
        yield unknown(
            "stripe.key",
            f"Stripe could not be reached ({type(error).__name__})",
            "look at https://status.stripe.com and at this machine's network, then run doctor again",
        )
        return
    yield from clock("clock.stripe", answer, asked_at)
    if answer.status_code == 401:
        yield fail(
            "stripe.key",
            "Stripe does not know STRIPE_SECRET_KEY: it was mistyped, rolled or revoked",
            "take the current key from https://dashboard.stripe.com/apikeys and store it where the functions read it",
        )
        return
    if answer.status_code == 403:
        yield ok("stripe.key", "known; it may not read the account, and needs not")
        return
    if answer.status_code != 200:
        yield unknown("stripe.key", f"Stripe answered {answer.status_code}", "run doctor again in a minute")
        return
    account = answer.json()
    yield ok("stripe.key", f"known, of account {account['id']}")
    if account.get("charges_enabled") is False:
        yield fail(
            "stripe.account",
            "the account may not charge cards yet",
            "finish the account's activation at https://dashboard.stripe.com/account/onboarding",
        )
    else:
        yield ok("stripe.account", "may charge cards")


def mode_is_the_keys(patient: Patient) -> Iterator[Finding]:
    """What Stripe says of livemode is what the key's prefix says."""
    if patient.stripe is None:
        return
    answer = _ask(patient, "GET", "/v1/balance")
    if answer.status_code != 200:
        yield unknown(
            "stripe.mode",
            f"the key may not read the balance ({answer.status_code}), which would tell the mode",
            "give the restricted key read permission for Balance, or trust its prefix",
        )
        return
    said, is_live = patient.get("STRIPE_SECRET_KEY").split("_")[1], bool(answer.json()["livemode"])
    if (said == "live") == is_live:
        yield ok("stripe.mode", f"{said} mode, by the key and by Stripe")
    else:
        yield fail(
            "stripe.mode",
            f"the key says {said} mode, what answers says {'live' if is_live else 'test'} mode",
            "unset STRIPE_API_BASE so that Stripe itself is asked, or take a key of the mode that you mean",
        )


def permissions_are_enough(patient: Patient) -> Iterator[Finding]:
    """A restricted key may do what the functions do."""
    if patient.stripe is None:
        return
    if not patient.get("STRIPE_SECRET_KEY").startswith("rk_"):
        yield ok("stripe.permissions", "an unrestricted key may do everything")
        return
    refused = [name for name, (method, path) in _PROBES.items() if _ask(patient, method, path).status_code == 403]
    if refused:
        yield fail(
            "stripe.permissions",
            f"the restricted key lacks {', '.join(refused)}",
            "add the permissions to the key at https://dashboard.stripe.com/apikeys (docs/go-live.md lists all)",
        )
    else:
        yield ok("stripe.permissions", f"the restricted key has {', '.join(_PROBES)}")


def account_version_is_ours(patient: Patient) -> Iterator[Finding]:
    """Events that reconcile fetches are of the account's version; another one than the SDK's gets them flagged."""
    if patient.stripe is None:
        return
    answer = _ask(patient, "GET", "/v1/events?limit=1")
    events = answer.json().get("data", []) if answer.status_code == 200 else []
    if not events:
        yield ok("stripe.account_version", "no event yet that would tell the account's version")
        return
    version = events[0]["api_version"]
    if version == stripe.api_version:
        yield ok("stripe.account_version", f"events are made in {version}, as the SDK reads them")
    else:
        yield warn(
            "stripe.account_version",
            f"the account's own version is {version}, the SDK's {stripe.api_version}: missed events that reconcile "
            "fetches will be flagged instead of applied",
            "upgrade the account's default version in Workbench (https://docs.stripe.com/upgrades), after every other "
            "integration of the account was looked at",
        )


def clock(check: str, answer: httpx.Response, asked_at: float) -> Iterator[Finding]:
    """Our clock against an answer's Date, which is cut to whole seconds."""
    stated = answer.headers.get("date")
    if not stated:
        return
    try:
        theirs = parsedate_to_datetime(stated).timestamp()
    except ValueError:
        return
    ours_late = theirs - time.time()
    ours_early = asked_at - (theirs + 1)
    off = max(ours_late, ours_early, 0.0)
    if off > CLOCK_FAIL_SECONDS:
        yield fail(
            check,
            f"this machine's clock is {off:.0f} seconds off",
            "set the clock by NTP (`timedatectl set-ntp true`): signatures and tokens are refused by a wrong clock",
        )
    elif off > CLOCK_WARN_SECONDS:
        yield warn(check, f"this machine's clock is {off:.0f} seconds off", "set the clock by NTP")
    else:
        yield ok(check, "agrees within five seconds")


def _ask(patient: Patient, method: str, path: str) -> httpx.Response:
    base = patient.get("STRIPE_API_BASE") or "https://api.stripe.com"
    return patient.http.request(
        method,
        base + path,
        headers={
            "Authorization": f"Bearer {patient.get('STRIPE_SECRET_KEY')}",
            "Stripe-Version": stripe.api_version,
        },
    )


CHECKS = (key_is_known, mode_is_the_keys, permissions_are_enough, account_version_is_ours)
