"""Doctor finds what is planted, says what to do about it, and finds nothing where nothing is."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
import time_machine

from functions.shared.secrets import forget
from local.doctor import api, aws, database, endpoint, running, settings, stripe, supabase
from local.doctor.examine import examine, verdict
from local.doctor.finding import Finding, Status
from local.function_tokens import FUNCTIONS
from local.queue import connect
from local.supabase.app import serving
from local.supabase.settings import Settings
from local.supabase.tokens import TokenSigner, mint_role_token
from tests.local.doctor.conftest import Environment, stripe_key
from tests.support.aws_secrets import SecretStore
from tests.support.fixtures import OpenGateway
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx

AREAS = {
    **dict.fromkeys(("settings", "keys", "secrets", "addresses"), settings.CHECKS),
    "stripe": stripe.CHECKS,
    "api": api.CHECKS,
    "webhook": endpoint.CHECKS,
    **dict.fromkeys(("supabase", "tokens"), supabase.CHECKS),
    **dict.fromkeys(("database", "migrations", "policies", "running"), (*database.CHECKS, *running.CHECKS)),
    **dict.fromkeys(("queue", "mail"), aws.CHECKS),
    "clock": (*stripe.CHECKS, *supabase.CHECKS),
}
"""The checks beside which a plant is looked for; all of them together take a second."""
ROOT = Path(__file__).resolve().parents[3]
Plant = Callable[[Environment], None]


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def of_doctor(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.check.startswith("doctor.")]


def no_secret_in(findings: list[Finding], environment: Environment) -> None:
    said = " ".join(f"{finding.found} {finding.remedy}" for finding in findings)
    for name, value in environment.values.items():
        if any(word in name for word in ("KEY", "SECRET", "TOKEN")) and not name.startswith("AWS_"):
            for secret in value.split(","):
                assert secret not in said, name
    password = urlsplit(environment.values.get("DATABASE_URL", "")).password
    assert not password or password not in said


def test_a_healthy_environment_has_no_findings(environment: Environment) -> None:
    findings = examine(environment.values)
    assert [finding for finding in findings if finding.status is not Status.OK] == []
    assert verdict(findings) is Status.OK
    assert {finding.check.split(".")[0] for finding in findings} == {
        *("settings", "keys", "secrets", "addresses", "clock", "stripe", "api", "webhook", "supabase", "tokens"),
        *("database", "migrations", "policies", "queue", "mail", "running"),
    }
    no_secret_in(findings, environment)


# --- keys and variables ----------------------------------------------------------------------------------------------


def without(*names: str) -> Plant:
    def plant(environment: Environment) -> None:
        for name in names:
            del environment.values[name]

    return plant


def with_(**values: str) -> Plant:
    def plant(environment: Environment) -> None:
        environment.values.update(values)

    return plant


def live_key(environment: Environment) -> None:
    environment.values["STRIPE_PUBLISHABLE_KEY"] = stripe_key("pk_live")
    environment.open_stripe(stripe_key("sk_live"))


def one_secret_for_all(environment: Environment) -> None:
    environment.values["AUTOBOOK_SIGNING_SECRETS"] = environment.values["STRIPE_WEBHOOK_SECRETS"]


def keys_swapped(environment: Environment) -> None:
    values = environment.values
    values["SUPABASE_PUBLISHABLE_KEY"], values["SUPABASE_SECRET_KEY"] = (
        values["SUPABASE_SECRET_KEY"],
        values["SUPABASE_PUBLISHABLE_KEY"],
    )


# --- Stripe and its endpoint -----------------------------------------------------------------------------------------


def another_accounts_key(environment: Environment) -> None:
    environment.values["STRIPE_SECRET_KEY"] = stripe_key()


def restricted_too_far(environment: Environment) -> None:
    key = stripe_key("rk_test")
    may = frozenset(
        {"customer_write", "payment_method_write", "setup_intent_write", "payment_intent_write", "charge_read"}
        | {"event_read", "webhook_read", "balance_read"}
    )
    environment.open_stripe(key, restricted_keys={key: may})


def no_endpoint(environment: Environment) -> None:
    environment.open_stripe(stripe_key(), synced=False)


def endpoint_disabled(environment: Environment) -> None:
    environment.endpoint()["status"] = "disabled"


def endpoint_without_disputes(environment: Environment) -> None:
    endpoint = environment.endpoint()
    endpoint["enabled_events"] = [name for name in endpoint["enabled_events"] if "dispute" not in name]


def endpoint_of_another_version(environment: Environment) -> None:
    environment.endpoint()["api_version"] = "2024-06-20"


def endpoint_twice(environment: Environment) -> None:
    with environment.stripe() as client:
        client.v1.webhook_endpoints.create(
            {"url": environment.webhook_url, "enabled_events": ["*"], "api_version": "2026-10-28.endive"}
        )


def account_of_another_version(environment: Environment) -> None:
    with environment.stripe() as client:
        client.v1.customers.create({})
    for event in environment.world.events:
        event["api_version"] = "2024-06-20"


def another_endpoints_secret(environment: Environment) -> None:
    environment.values["STRIPE_WEBHOOK_SECRETS"] = f"whsec_{stripe_key()[-32:]}"


# --- Supabase --------------------------------------------------------------------------------------------------------


def token_of(environment: Environment, role: str, seconds: int, issuer: str = "") -> str:
    signer = TokenSigner(jwt_secret=environment.stack.keys.supabase_jwt_secret, issuer=issuer)
    return mint_role_token(signer, role, lifetime_seconds=seconds)


def token_expired(environment: Environment) -> None:
    environment.values["SUPABASE_TOKEN_WEBHOOK"] = token_of(environment, "autobook_webhook", -60)


def token_expires_soon(environment: Environment) -> None:
    environment.values["SUPABASE_TOKEN_NOTIFY"] = token_of(environment, "autobook_notify", 5 * 86400)


def token_of_another_function(environment: Environment) -> None:
    environment.values["SUPABASE_TOKEN_OFFERS"] = environment.values["SUPABASE_TOKEN_WEBHOOK"]


def token_of_another_project(environment: Environment) -> None:
    claims = {"role": "autobook_bookings", "iat": int(time.time()), "exp": int(time.time()) + 90 * 86400}
    environment.values["SUPABASE_TOKEN_BOOKINGS"] = jwt.encode(claims, "x" * 40, algorithm="HS256")


def project_is_away(environment: Environment) -> None:
    environment.values["SUPABASE_URL"] = "http://127.0.0.1:9"


# --- database --------------------------------------------------------------------------------------------------------


def statement(text: str) -> Plant:
    def plant(environment: Environment) -> None:
        environment.sql(text)

    return plant


def a_booking_is_stuck(environment: Environment) -> None:
    environment.sql("set session_replication_role = replica; " + STUCK_BOOKING)  # history that no path of ours writes


STUCK_BOOKING = """
insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'stuck@example.com');
insert into public.bookings (campaign_id, offer_id, user_id, amount_minor, currency, capture, created_at, updated_at)
values (gen_random_uuid(), 'offer', '00000000-0000-4000-8000-000000000001', 100, 'eur', 'automatic',
  now() - interval '1 hour', now() - interval '1 hour')
"""


def an_event_failed(environment: Environment) -> None:
    environment.sql(
        """insert into public.stripe_events (id, type, livemode, stripe_created_at, status, result, received_at)
        values ('evt_stuck', 'charge.failed', false, now(), 'failed', 'P0001', now() - interval '2 hours')"""
    )


# --- AWS -------------------------------------------------------------------------------------------------------------


def queue_without_dead_letters(environment: Environment) -> None:
    queue = connect(environment.stack.queue_endpoint).create_queue(
        QueueName="bare", Attributes={"VisibilityTimeout": "180"}
    )
    environment.values["CHARGE_QUEUE_URL"] = queue["QueueUrl"]


def no_such_queue(environment: Environment) -> None:
    environment.values["CHARGE_QUEUE_URL"] += "-of-another-stage"


def sender_not_verified(environment: Environment) -> None:
    environment.ses.verified.clear()


def sandbox(environment: Environment) -> None:
    environment.ses.is_out_of_sandbox = False


def queue_that_is_impatient(environment: Environment) -> None:
    environment.values["CHARGE_QUEUE_URL"] = environment.stack.queue_url


FAIL, WARN, UNKNOWN = Status.FAIL, Status.WARN, Status.UNKNOWN
PLANTS: dict[str, tuple[Plant, str, Status, str]] = {
    "no signing secrets": (without("AUTOBOOK_SIGNING_SECRETS"), "settings.machines", FAIL, "set the variable"),
    "a publishable key of the other mode": (
        with_(STRIPE_PUBLISHABLE_KEY="pk_live_51abcdefghijklmnop"),
        "settings.stripe",
        FAIL,
        "set the variable",
    ),
    "a live key in dev": (live_key, "keys.stage", FAIL, "key of the other mode"),
    "a test key in prod": (with_(STAGE="prod"), "keys.stage", FAIL, "key of the other mode"),
    "a live key that goes elsewhere": (live_key, "addresses.STRIPE_API_BASE", FAIL, "unset STRIPE_API_BASE"),
    "a key and answers of two modes": (live_key, "stripe.mode", FAIL, "unset STRIPE_API_BASE"),
    "a sample for a secret": (
        with_(AUTOBOOK_SIGNING_SECRETS="change-me-change-me-change-me-change-me"),
        "secrets.signing",
        FAIL,
        "openssl rand -hex 32",
    ),
    "a short secret": (with_(AUTOBOOK_SIGNING_SECRETS="h7Gt5kLq2pZ9"), "secrets.signing", FAIL, "openssl rand -hex 32"),
    "no webhook secret of Stripe's": (
        with_(STRIPE_WEBHOOK_SECRETS="sk_test_51h7Gt5kLq2pZ9vB3nM8xC1w"),
        "secrets.webhook",
        FAIL,
        "dashboard.stripe.com/webhooks",
    ),
    "one secret for Stripe and machines": (one_secret_for_all, "secrets.shared", FAIL, "openssl rand -hex 32"),
    "Supabase's keys swapped": (keys_swapped, "keys.supabase_publishable", FAIL, "rotate the secret one"),
    "links without TLS": (with_(APP_URL="http://app.example.com"), "addresses.APP_URL", FAIL, "https://"),
    "an unrestricted live key": (live_key, "keys.restricted", WARN, "make a restricted key"),
    "nobody says where the API is": (without("AUTOBOOK_API_URL"), "webhook.endpoint", UNKNOWN, "AUTOBOOK_API_URL"),
    "another account's key": (another_accounts_key, "stripe.key", FAIL, "dashboard.stripe.com/apikeys"),
    "a restricted key that cannot refund": (restricted_too_far, "stripe.permissions", FAIL, "add the permissions"),
    "no endpoint": (no_endpoint, "webhook.endpoint", FAIL, "webhook-endpoint sync"),
    "the endpoint disabled": (endpoint_disabled, "webhook.endpoint", FAIL, "webhook-endpoint sync"),
    "the endpoint without disputes": (endpoint_without_disputes, "webhook.events", FAIL, "webhook-endpoint sync"),
    "the endpoint of an older version": (endpoint_of_another_version, "webhook.version", FAIL, "webhook-endpoint sync"),
    "the endpoint twice": (endpoint_twice, "webhook.duplicate", FAIL, "disable all but"),
    "an account of an older version": (account_of_another_version, "stripe.account_version", WARN, "Workbench"),
    "another endpoint's secret": (another_endpoints_secret, "webhook.secret", FAIL, "store the endpoint's secret"),
    "no API where it should be": (
        with_(AUTOBOOK_API_URL="http://127.0.0.1:9"),
        "webhook.answers",
        FAIL,
        "correct AUTOBOOK_API_URL",
    ),
    "no API at all": (with_(AUTOBOOK_API_URL="http://127.0.0.1:9"), "api.health", FAIL, "deploy the API"),
    "another project's address": (project_is_away, "supabase.project", FAIL, "correct SUPABASE_URL"),
    "an unknown publishable key": (
        with_(SUPABASE_PUBLISHABLE_KEY="sb_publishable_of_another_project_0123"),
        "supabase.project",
        FAIL,
        "this project",
    ),
    "an issuer that signs nothing": (
        with_(SUPABASE_JWT_ISSUER="http://127.0.0.1:9/auth/v1"),
        "supabase.jwks",
        FAIL,
        "SUPABASE_JWT_ISSUER",
    ),
    "the legacy secret beside the project's own keys": (
        with_(SUPABASE_JWT_SECRET="a-secret-of-forty-characters-0123456789ab"),
        "supabase.legacy_secret",
        WARN,
        "unset SUPABASE_JWT_SECRET",
    ),
    "an expired token": (token_expired, "tokens.webhook", FAIL, "function-tokens"),
    "a token about to expire": (token_expires_soon, "tokens.notify", WARN, "function-tokens"),
    "a token of another function": (token_of_another_function, "tokens.offers", FAIL, "function-tokens"),
    "a token of another project": (token_of_another_project, "tokens.bookings", FAIL, "function-tokens"),
    "a missing token": (without("SUPABASE_TOKEN_RECONCILE"), "tokens.reconcile", FAIL, "function-tokens"),
    "the transaction pooler": (
        with_(DATABASE_URL="postgresql://postgres:hunter2hunter2@127.0.0.1:6543/postgres"),
        "database.login",
        FAIL,
        "DATABASE_URL",
    ),
    "no database": (without("DATABASE_URL"), "database.login", UNKNOWN, "direct connection"),
    "no queue": (no_such_queue, "queue.reachable", FAIL, "CHARGE_QUEUE_URL"),
    "a queue without dead letters": (queue_without_dead_letters, "queue.dead_letters", FAIL, "deploy the template"),
    "a queue that repeats what is under way": (queue_that_is_impatient, "queue.visibility", FAIL, "174 seconds"),
    "an unverified sender": (sender_not_verified, "mail.sender", FAIL, "verify the domain"),
    "mail in the sandbox": (sandbox, "mail.sandbox", WARN, "production access"),
    "no such configuration set": (
        with_(SES_CONFIGURATION_SET="of-another-region"),
        "mail.configuration_set",
        FAIL,
        "SES_CONFIGURATION_SET",
    ),
}
DATABASE_PLANTS: dict[str, tuple[Plant, str, Status, str]] = {
    "a migration edited after it was applied": (
        statement("update supabase_migrations.autobook_checksums set sha256 = 'x' where version = '0001'"),
        "migrations.unchanged",
        FAIL,
        "restore the file",
    ),
    "a migration not applied": (
        statement("delete from supabase_migrations.schema_migrations where version = '0110'"),
        "migrations.applied",
        FAIL,
        "migrate up",
    ),
    "row-level security off": (
        statement("alter table public.campaigns disable row level security"),
        "policies.row_level_security",
        FAIL,
        "enable row level security",
    ),
    "a table that users can write": (
        statement("grant insert on public.ledger_entries to authenticated"),
        "policies.table_rights",
        FAIL,
        "revoke",
    ),
    "a function that anybody may execute": (
        statement("grant execute on function public.begin_refund(uuid, bigint, text, text) to public"),
        "policies.execute",
        FAIL,
        "revoke execute",
    ),
    "a function that nobody may execute": (
        statement("revoke execute on function public.ingest_offers(jsonb) from autobook_offers"),
        "policies.execute",
        FAIL,
        "grant execute",
    ),
    "reconcile does not run": (
        statement("update internal.reconcile_state set events_seen_until = now() - interval '1 hour'"),
        "running.reconcile",
        FAIL,
        "autobook reconcile --apply",
    ),
    "a stuck booking": (a_booking_is_stuck, "running.bookings", FAIL, "autobook booking"),
    "an event that cannot be applied": (an_event_failed, "running.events", FAIL, "reconcile --apply"),
    "an incident": (
        statement("insert into public.incidents (kind, dedupe_key, detail) values ('late_success', 'x', 'x')"),
        "running.incidents",
        WARN,
        "resolved_at",
    ),
}


def assert_found(environment: Environment, check: str, status: Status, remedy: str) -> list[Finding]:
    findings = examine(environment.values, checks=AREAS[check.partition(".")[0]])
    found = [finding for finding in of(findings, check) if finding.status is status]
    assert found, [finding for finding in findings if finding.status is not Status.OK]
    assert remedy in found[0].remedy
    no_secret_in(findings, environment)
    assert not of_doctor(findings), "a check broke off"
    return findings


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(name: str, environment: Environment) -> None:
    plant, check, status, remedy = PLANTS[name]
    plant(environment)
    assert_found(environment, check, status, remedy)


@pytest.mark.parametrize("name", DATABASE_PLANTS)
def test_what_is_planted_in_the_database_is_found(name: str, spoil_database: Environment) -> None:
    plant, check, status, remedy = DATABASE_PLANTS[name]
    plant(spoil_database)
    findings = assert_found(spoil_database, check, status, remedy)
    assert {finding.check for finding in findings if finding.status is FAIL} <= {check}, "one thing was planted"


@pytest.mark.parametrize(("secret", "status"), [("", FAIL), ("x" * 40, WARN)])
def test_a_project_that_signs_with_the_shared_secret(secret: str, status: Status, environment: Environment) -> None:
    with serving(Settings(database_url=environment.database_url, jwt_secret="y" * 40)) as url:
        environment.values |= {"SUPABASE_URL": url, "SUPABASE_JWT_ISSUER": f"{url}/auth/v1"}
        environment.values |= {"SUPABASE_JWT_SECRET": secret} if secret else {}
        found = of(examine(environment.values, checks=supabase.CHECKS), "supabase.jwks")
    assert [finding.status for finding in found] == [status]
    assert "asymmetric keys" in found[0].remedy


@pytest.mark.parametrize(("seconds", "status"), [(20, WARN), (-200, FAIL), (400, FAIL)])
def test_a_wrong_clock_is_found(seconds: int, status: Status, environment: Environment) -> None:
    with time_machine.travel(time.time() + seconds, tick=True):
        findings = examine(environment.values)
    # Stripe's stand-in is in this process, and makes its Date once a second: leave none of that hour to other tests.
    until(
        lambda: (
            [each.status for each in of(examine(environment.values, checks=stripe.CHECKS), "clock.stripe")]
            == [Status.OK]
        )
    )
    assert {finding.status for finding in of(findings, "clock.supabase")} == {status}
    assert "NTP" in of(findings, "clock.supabase")[0].remedy


def test_a_secret_that_cannot_be_read_is_named_and_what_needs_it_too(
    environment: Environment, secret_store: SecretStore
) -> None:
    secret_store.put("autobook/keys", {"stripe": environment.values["STRIPE_SECRET_KEY"]})
    environment.values["STRIPE_SECRET_KEY"] = "aws-sm:autobook/keys#stripe"
    assert [finding for finding in examine(environment.values) if finding.status is not Status.OK] == []
    environment.values["STRIPE_WEBHOOK_SECRETS"] = "aws-sm:autobook/nothing"
    findings = assert_found(environment, "settings.STRIPE_WEBHOOK_SECRETS", FAIL, "secretsmanager:GetSecretValue")
    assert not of(findings, "settings.webhook")

    forget()
    with secret_store.away():
        assert_found(environment, "settings.STRIPE_SECRET_KEY", UNKNOWN, "let this role read it")


def test_a_function_with_unfit_settings_is_named(environment: Environment, gateway_with: OpenGateway) -> None:
    environment.values["AUTOBOOK_API_URL"] = str(gateway_with(STRIPE_WEBHOOK_SECRETS="").base_url)
    findings = assert_found(environment, "api.health", FAIL, "function webhook")
    assert len(of(findings, "api.health")) == 1, "the others are well"


def test_every_function_that_answers_http_is_asked() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert {path.split("/")[1] for path in document["paths"]} - {"health"} == set(api.FUNCTIONS)


def test_every_function_has_a_token_looked_at(environment: Environment) -> None:
    checks = {finding.check for finding in examine(environment.values)}
    assert {f"tokens.{name}" for name in FUNCTIONS} <= checks


def test_an_empty_environment_is_told_everything(environment: Environment) -> None:
    findings = examine({})
    assert verdict(findings) is Status.FAIL
    assert not of_doctor(findings)
    assert {"settings.stripe", "settings.users", "tokens.webhook", "database.login"} <= {
        finding.check for finding in findings if finding.status in (FAIL, UNKNOWN)
    }
