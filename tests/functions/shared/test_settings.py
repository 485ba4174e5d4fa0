"""Settings: typed, refused when they are missing or empty, and silent about secrets."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

import functions
from functions.shared.settings import (
    MachineSettings,
    PublishableSettings,
    QueueSettings,
    Settings,
    SettingsError,
    StripeSettings,
    SupabaseSettings,
    UserSettings,
    WebhookSettings,
    function_settings,
    read,
)
from tests.functions.shared.conftest import SetEnvironment

COMPLETE = {
    "SUPABASE_URL": "https://abc.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_of_the_owner",
    "SUPABASE_TOKEN_WEBHOOK": "token_of_the_webhook",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_for_pages",
    "SUPABASE_JWT_ISSUER": None,
    "SUPABASE_JWT_SECRET": None,
    "STRIPE_SECRET_KEY": "sk_test_of_the_functions",
    "STRIPE_API_BASE": None,
    "STRIPE_PUBLISHABLE_KEY": "pk_test_for_pages",
    "STRIPE_WEBHOOK_SECRETS": "whsec_the_new_one,whsec_the_old_one",
    "AUTOBOOK_SIGNING_SECRETS": "signing_new_one, signing_old_one",
    "CHARGE_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/charges",
}
SECRETS = (
    "sb_secret_of_the_owner",
    "token_of_the_webhook",
    "sk_test_of_the_functions",
    "whsec_the",
    "signing_new",
    "signing_old",
    "jwt_secret_of_old",
)


def all_groups() -> Iterator[type[Settings]]:
    """Every group there is, in the modules of functions/."""
    for module in pkgutil.walk_packages(functions.__path__, "functions."):
        if module.name.endswith("settings"):
            importlib.import_module(module.name)
    pending = Settings.__subclasses__()
    while pending:
        group = pending.pop()
        pending += group.__subclasses__()
        yield group


def is_secret(group: type[Settings], field: str) -> bool:
    return SecretStr.__name__ in str(group.model_fields[field].annotation)


def test_a_complete_environment_is_read(environment: SetEnvironment) -> None:
    environment(**COMPLETE)
    assert read(SupabaseSettings).supabase_url == "https://abc.supabase.co"
    assert read(SupabaseSettings).supabase_secret_key.get_secret_value() == "sb_secret_of_the_owner"
    assert read(UserSettings).issuer == "https://abc.supabase.co/auth/v1"
    assert read(UserSettings).supabase_jwt_secret is None
    assert read(StripeSettings).stripe_api_base == "https://api.stripe.com"
    assert read(PublishableSettings).stripe_publishable_key == "pk_test_for_pages"
    assert [secret.get_secret_value() for secret in read(WebhookSettings).stripe_webhook_secrets] == [
        "whsec_the_new_one",
        "whsec_the_old_one",
    ]
    assert [secret.get_secret_value() for secret in read(MachineSettings).autobook_signing_secrets] == [
        "signing_new_one",
        "signing_old_one",
    ]
    assert read(QueueSettings).charge_queue_url.endswith("/charges")


def test_a_custom_domain_names_its_own_issuer(environment: SetEnvironment) -> None:
    environment(
        **COMPLETE | {"SUPABASE_JWT_ISSUER": "https://abc.supabase.co/auth/v1", "SUPABASE_URL": "https://db.me"}
    )
    assert read(UserSettings).issuer == "https://abc.supabase.co/auth/v1"


def test_a_group_is_read_once(environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(**COMPLETE)
    first = read(StripeSettings)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_another")
    assert read(StripeSettings) is first


def test_a_group_needs_its_own_variables_only(environment: SetEnvironment) -> None:
    environment(**dict.fromkeys(COMPLETE) | {"STRIPE_WEBHOOK_SECRETS": "whsec_the_new_one"})
    assert len(read(WebhookSettings).stripe_webhook_secrets) == 1


def test_a_function_has_a_token_of_its_own(environment: SetEnvironment) -> None:
    environment(**COMPLETE | {"SUPABASE_SECRET_KEY": None, "SUPABASE_TOKEN_OFFERS": "token_of_offers"})
    settings = function_settings("webhook")
    assert settings.supabase_function_token.get_secret_value() == "token_of_the_webhook"
    assert function_settings("offers").supabase_function_token.get_secret_value() == "token_of_offers"
    assert function_settings("webhook") is settings
    assert not [secret for secret in SECRETS if secret in f"{settings!r} {settings}"]


def test_a_function_s_token_is_named_as_its_variable_is(environment: SetEnvironment) -> None:
    environment(**COMPLETE | {"SUPABASE_TOKEN_WEBHOOK": "short"})
    with pytest.raises(SettingsError, match=r"SUPABASE_TOKEN_WEBHOOK \(too_short\)") as raised:
        function_settings("webhook")
    assert "FUNCTION_TOKEN" not in str(raised.value)


@pytest.mark.parametrize("token", [None, "", "s3cr3t"])
def test_a_function_without_a_token_is_refused(environment: SetEnvironment, token: str | None) -> None:
    environment(**COMPLETE | {"SUPABASE_TOKEN_WEBHOOK": token})
    with pytest.raises(SettingsError, match="TOKEN") as raised:
        function_settings("webhook")
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    ("group", "variable"),
    [
        (SupabaseSettings, "SUPABASE_URL"),
        (SupabaseSettings, "SUPABASE_SECRET_KEY"),
        (UserSettings, "SUPABASE_URL"),
        (UserSettings, "SUPABASE_PUBLISHABLE_KEY"),
        (StripeSettings, "STRIPE_SECRET_KEY"),
        (PublishableSettings, "STRIPE_PUBLISHABLE_KEY"),
        (WebhookSettings, "STRIPE_WEBHOOK_SECRETS"),
        (MachineSettings, "AUTOBOOK_SIGNING_SECRETS"),
        (QueueSettings, "CHARGE_QUEUE_URL"),
    ],
)
@pytest.mark.parametrize("value", [None, "", " "], ids=["missing", "empty", "blank"])
def test_what_is_missing_or_empty_is_refused_by_name(
    environment: SetEnvironment, group: type[Settings], variable: str, value: str | None
) -> None:
    environment(**COMPLETE | {variable: value})
    with pytest.raises(SettingsError, match=variable):
        read(group)
    # An environment that was mended is read: a refusal is not kept.
    environment(**COMPLETE)
    assert isinstance(read(group), group)


@pytest.mark.parametrize(
    "secrets", ["", ",", "whsec_the_new_one,", ",whsec_the_new_one", "whsec_the_new_one,,x", "short"]
)
@pytest.mark.parametrize(
    ("group", "variable"), [(WebhookSettings, "STRIPE_WEBHOOK_SECRETS"), (MachineSettings, "AUTOBOOK_SIGNING_SECRETS")]
)
def test_one_empty_secret_among_several_is_refused(
    environment: SetEnvironment, group: type[Settings], variable: str, secrets: str
) -> None:
    """Whoever may sign with an empty secret may sign anything."""
    environment(**{variable: secrets})
    with pytest.raises(SettingsError, match=variable):
        read(group)


def test_an_empty_legacy_jwt_secret_is_refused_and_not_taken_for_none(environment: SetEnvironment) -> None:
    environment(**COMPLETE | {"SUPABASE_JWT_SECRET": ""})
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET"):
        read(UserSettings)


@pytest.mark.parametrize(
    "url", ["abc.supabase.co", "ftp://abc", "https://abc/", "https://a b", "https://abc\n", "//abc"]
)
def test_an_address_is_one_of_http_without_a_slash_at_its_end(environment: SetEnvironment, url: str) -> None:
    environment(**COMPLETE | {"SUPABASE_URL": url})
    with pytest.raises(SettingsError, match="SUPABASE_URL"):
        read(SupabaseSettings)


@pytest.mark.parametrize("key", ["sk_test_x", "pk_test_", "whsec_x", "pk_test_a b"])
def test_a_secret_key_is_no_publishable_key(environment: SetEnvironment, key: str) -> None:
    """It would be sent to every browser."""
    environment(**COMPLETE | {"STRIPE_PUBLISHABLE_KEY": key})
    with pytest.raises(SettingsError, match="STRIPE_PUBLISHABLE_KEY"):
        read(PublishableSettings)


@pytest.mark.parametrize(
    ("key", "livemode"),
    [("sk_live_abcdef", True), ("rk_live_abcdef", True), ("sk_test_live_abcdef", False), ("rk_test_abcdef", False)],
)
def test_the_key_tells_whether_money_is_real(environment: SetEnvironment, key: str, livemode: bool) -> None:
    environment(**COMPLETE | {"STRIPE_SECRET_KEY": key, "STRIPE_PUBLISHABLE_KEY": None})
    assert read(StripeSettings).livemode is livemode


@pytest.mark.parametrize("group", list(all_groups()), ids=lambda group: group.__name__)
def test_no_secret_has_a_default_that_could_be_used(group: type[Settings]) -> None:
    for field, info in group.model_fields.items():
        if is_secret(group, field):
            assert info.is_required() or info.default is None, field


def test_names_that_sound_secret_are_typed_as_secrets() -> None:
    sounding = [
        (group, field)
        for group in all_groups()
        for field in group.model_fields
        if any(word in field for word in ("secret", "password", "private")) and "publishable" not in field
    ]
    assert len(sounding) >= 4
    assert [(group.__name__, field) for group, field in sounding if not is_secret(group, field)] == []


@pytest.mark.parametrize("group", [SupabaseSettings, UserSettings, StripeSettings, WebhookSettings, MachineSettings])
def test_a_group_shows_no_secret(environment: SetEnvironment, group: type[Settings]) -> None:
    environment(**COMPLETE | {"SUPABASE_JWT_SECRET": "jwt_secret_of_old"})
    settings = read(group)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert not [secret for secret in SECRETS if secret in shown]
    with pytest.raises(ValueError, match="frozen"):
        settings.__setattr__(next(iter(group.model_fields)), "x")


@pytest.mark.parametrize(
    ("group", "variable", "value"),
    [
        (SupabaseSettings, "SUPABASE_SECRET_KEY", "s3cr3t"),
        (SupabaseSettings, "SUPABASE_URL", "postgres://user:s3cr3t@db"),
        (StripeSettings, "STRIPE_SECRET_KEY", "s3cr3t"),
        (PublishableSettings, "STRIPE_PUBLISHABLE_KEY", "sk_live_s3cr3t"),
        (WebhookSettings, "STRIPE_WEBHOOK_SECRETS", "whsec_s3cr3t,s3cr3t"),
        (MachineSettings, "AUTOBOOK_SIGNING_SECRETS", "s3cr3t"),
        (UserSettings, "SUPABASE_JWT_SECRET", "s3cr3t"),
    ],
)
def test_an_error_names_the_variable_and_never_its_value(
    environment: SetEnvironment, group: type[Settings], variable: str, value: str
) -> None:
    environment(**COMPLETE | {variable: value})
    with pytest.raises(SettingsError) as raised:
        read(group)
    error: BaseException | None = raised.value
    assert variable in str(error)
    while error is not None:  # what a traceback would print, causes and contexts included
        assert "s3cr3t" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
