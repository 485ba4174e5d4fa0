"""Are the variables there, well-formed, of one mode, and no samples?"""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from functions.notify.settings import NotifySettings
from functions.shared.settings import (
    FunctionSettings,
    MachineSettings,
    PublishableSettings,
    QueueSettings,
    Settings,
    SettingsError,
    StripeSettings,
    UserSettings,
    WebhookSettings,
)
from local.doctor.finding import Finding, fail, ok, unknown, warn
from local.doctor.patient import Patient, is_loopback

GROUPS: dict[str, tuple[type[Settings], str]] = {
    "users": (UserSettings, "all functions that serve users"),
    "stripe": (StripeSettings, "all functions that call Stripe"),
    "page": (PublishableSettings, "setup_intent and bookings"),
    "webhook": (WebhookSettings, "webhook"),
    "machines": (MachineSettings, "offers, charge_booking and bookings"),
    "queue": (QueueSettings, "offers and reconcile"),
    "mail": (NotifySettings, "notify"),
}
SIGNING_SECRET_CHARACTERS = 32
"""RFC 2104, section 3: a key shorter than the hash's output (32 bytes for SHA-256) weakens the HMAC."""
_SAMPLE = re.compile(r"change.?me|example|sample|secret123|password|placeholder|your[-_]|x{6}|12345678", re.IGNORECASE)


def groups_are_readable(patient: Patient) -> Iterator[Finding]:
    """Each group of settings as the functions read it."""
    for name, reason in patient.unresolved.items():
        # What AWS says of a secret is a fault of ours; that it could not be asked says nothing.
        yield (unknown if "could not be asked" in reason else fail)(
            f"settings.{name}",
            f"the reference leads to no value ({reason})",
            "create the secret, or let this role read it: secretsmanager:GetSecretValue or ssm:GetParameter",
        )
    for name, (group, readers) in GROUPS.items():
        if name == "mail" and patient.stage == "local":
            yield ok("settings.mail", "the local stack sends no mail")
            continue
        try:
            patient.group(group)
        except SettingsError as error:
            fields = {field.upper() for field in group.model_fields}
            if fields & set(patient.unresolved):
                continue  # said above
            yield fail(
                f"settings.{name}",
                str(error),
                f"set the variable (README.md, Settings); {readers} cannot work without it",
            )
        else:
            yield ok(f"settings.{name}", "there and well-formed")


def function_tokens_are_there(patient: Patient) -> Iterator[Finding]:
    """Where the tokens are looked for; what they are worth is local/doctor/tokens.py's question."""
    if not patient.get("SUPABASE_URL"):
        return
    try:
        patient.group(FunctionSettings, supabase_function_token="x" * 8)
    except SettingsError as error:
        yield fail("settings.functions", str(error), "set SUPABASE_PUBLISHABLE_KEY from the project's API settings")


def keys_are_of_one_mode(patient: Patient) -> Iterator[Finding]:
    """Test keys in test stages, live keys in production, never both."""
    key = patient.get("STRIPE_SECRET_KEY")
    mode = key.split("_")[1:2]
    if mode not in (["live"], ["test"]):
        return
    said = f"STRIPE_SECRET_KEY is a {mode[0]} key"
    if not patient.stage:
        yield warn("keys.stage", f"{said}; STAGE is not set", "set STAGE (dev, staging, prod), which it is held to")
    elif patient.is_production != (mode == ["live"]):
        yield fail(
            "keys.stage",
            f"{said}, and STAGE is {patient.stage}",
            "take the key of the other mode from https://dashboard.stripe.com/apikeys, and its webhook secret with it",
        )
    else:
        yield ok("keys.stage", f"{said}, as {patient.stage} should have")
    if key.startswith("sk_live_"):
        yield warn(
            "keys.restricted",
            "the functions hold an unrestricted live key",
            "make a restricted key (rk_live_…) with the permissions that docs/go-live.md lists",
        )


def secrets_are_no_samples(patient: Patient) -> Iterator[Finding]:
    """Secrets of ours and of the webhook: long enough, random, each its own."""
    signing = _listed(patient.get("AUTOBOOK_SIGNING_SECRETS"))
    if signing:
        yield _judged(
            "secrets.signing",
            signing,
            "AUTOBOOK_SIGNING_SECRETS",
            "make one with `openssl rand -hex 32`, put it first, give it to the feed, then take the old one out",
        )
    webhook = _listed(patient.get("STRIPE_WEBHOOK_SECRETS"))
    if not webhook:
        return
    if any(not secret.startswith("whsec_") for secret in webhook):
        yield fail(
            "secrets.webhook",
            "STRIPE_WEBHOOK_SECRETS holds something that does not begin with whsec_",
            "take the endpoint's signing secret from https://dashboard.stripe.com/webhooks",
        )
    else:
        yield _judged(
            "secrets.webhook",
            webhook,
            "STRIPE_WEBHOOK_SECRETS",
            "take the endpoint's signing secret from https://dashboard.stripe.com/webhooks",
        )
    if set(webhook) & set(signing):
        yield fail(
            "secrets.shared",
            "one secret serves both Stripe's webhook and our machines",
            "make AUTOBOOK_SIGNING_SECRETS anew with `openssl rand -hex 32`: who holds one must not play the other",
        )


def _judged(check: str, listed: list[str], variable: str, remedy: str) -> Finding:
    if any(_SAMPLE.search(secret) or len(set(secret.removeprefix("whsec_"))) < 8 for secret in listed):
        return fail(check, f"{variable} holds a sample value, which anybody can guess", remedy)
    if any(len(secret.removeprefix("whsec_")) < SIGNING_SECRET_CHARACTERS for secret in listed):
        return fail(check, f"{variable} holds a secret of under {SIGNING_SECRET_CHARACTERS} characters", remedy)
    if len(set(listed)) < len(listed):
        return warn(check, f"{variable} holds one secret twice", "take it out once")
    if len(listed) > 2:
        return warn(check, f"{variable} holds {len(listed)} secrets", "take out the ones whose rotation is over")
    return ok(check, f"{len(listed)}, long enough and no samples")


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def supabase_keys_are_of_their_kinds(patient: Patient) -> Iterator[Finding]:
    """A publishable key where the page's goes, a secret one where the operators' goes."""
    dashboard = "take it from the project's settings, API keys"
    publishable, secret = patient.get("SUPABASE_PUBLISHABLE_KEY"), patient.get("SUPABASE_SECRET_KEY")
    if publishable:
        kind = _kind_of(publishable)
        if kind == "secret":
            yield fail(
                "keys.supabase_publishable",
                "SUPABASE_PUBLISHABLE_KEY holds a secret key, which every function sends along",
                f"put the publishable key there (sb_publishable_…; {dashboard}), and rotate the secret one",
            )
        elif kind == "publishable":
            yield ok("keys.supabase_publishable", "a publishable key")
        else:
            yield fail("keys.supabase_publishable", "SUPABASE_PUBLISHABLE_KEY is no key of Supabase", dashboard)
    if secret:
        if _kind_of(secret) == "secret":
            yield ok("keys.supabase_secret", "a secret key")
        else:
            yield fail(
                "keys.supabase_secret",
                "SUPABASE_SECRET_KEY is no secret key of Supabase",
                f"put the secret key there (sb_secret_…; {dashboard}); operators' commands need it",
            )
    else:
        yield unknown(
            "keys.supabase_secret",
            "SUPABASE_SECRET_KEY is not set; no function needs it, but export, erase and audit-verify do",
            f"set it for operators alone; {dashboard}",
        )


def _kind_of(key: str) -> str:
    """publishable, secret or nothing: by prefix, or by the role of a legacy JWT key."""
    for kind in ("publishable", "secret"):
        if key.startswith(f"sb_{kind}_"):
            return kind
    try:
        import jwt

        role = jwt.decode(key, options={"verify_signature": False}).get("role")
    except (jwt.PyJWTError, json.JSONDecodeError):
        return ""
    return {"anon": "publishable", "service_role": "secret"}.get(str(role), "")


def addresses_are_safe(patient: Patient) -> Iterator[Finding]:
    """Everything real goes over TLS, and to the real Stripe where money is real."""
    for name in ("SUPABASE_URL", "APP_URL", "AUTOBOOK_API_URL"):
        url = patient.get(name)
        if not url:
            continue
        parts = urlsplit(url)
        if parts.scheme == "https" or is_loopback(url):
            yield ok(f"addresses.{name}", f"{parts.scheme}, {parts.hostname}")
        else:
            yield fail(
                f"addresses.{name}", f"{name} is {parts.scheme}://, not TLS", f"set {name} to an https:// address"
            )
    base = patient.get("STRIPE_API_BASE")
    if base and base != "https://api.stripe.com":
        if patient.is_production or "_live_" in patient.get("STRIPE_SECRET_KEY")[:8]:
            yield fail(
                "addresses.STRIPE_API_BASE",
                f"live keys go to {urlsplit(base).hostname}, which is not Stripe",
                "unset STRIPE_API_BASE, and rotate the key if anything was sent there",
            )
        else:
            yield ok("addresses.STRIPE_API_BASE", "a stand-in, with test keys")


CHECKS = (
    groups_are_readable,
    function_tokens_are_there,
    keys_are_of_one_mode,
    secrets_are_no_samples,
    supabase_keys_are_of_their_kinds,
    addresses_are_safe,
)
