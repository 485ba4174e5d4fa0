"""Settings that refer to AWS: read by real boto3 calls, cached, followed when rotated, kept while AWS is away."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.shared import secrets, settings, stripe_gateway
from functions.shared.secrets import Secrets, SecretUnavailable
from functions.shared.settings import (
    MachineSettings,
    SettingsError,
    StripeSettings,
    WebhookSettings,
    function_settings,
    read,
)
from tests.support.aws_secrets import SecretStore, environment, scripted

SetEnvironment = Callable[..., None]
FOUND = (200, {"Name": "s", "SecretString": "the_value_there"})
GONE = (400, {"__type": "ResourceNotFoundException", "Message": "no"})


def _forget() -> None:
    secrets.forget()
    settings._read.cache_clear()
    if stripe_gateway._gateway.cache_info().currsize:
        stripe_gateway._gateway.cache_clear()


@pytest.fixture(scope="module")
def store() -> Iterator[SecretStore]:
    opened = SecretStore()
    yield opened
    opened.close()


@pytest.fixture
def lambda_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetEnvironment]:
    """Variables of a Lambda, each time after a cold start."""

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        _forget()

    set_variables(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
    yield set_variables
    _forget()


@pytest.fixture
def aws(lambda_environment: SetEnvironment, store: SecretStore) -> SetEnvironment:
    lambda_environment(**environment(store.url))
    return lambda_environment


def webhook_secrets() -> list[str]:
    return [secret.get_secret_value() for secret in read(WebhookSettings).stripe_webhook_secrets]


# --- values ---------------------------------------------------------------------------------------------------------


def test_a_setting_may_be_kept_in_secrets_manager_or_parameter_store(aws: SetEnvironment, store: SecretStore) -> None:
    store.put("autobook/stripe", {"secret_key": "sk_test_from_aws", "webhook": ["whsec_newest", "whsec_before"]})
    store.put("autobook/feed", "signing_secret_one,signing_secret_two")
    store.put_parameter("/autobook/token/webhook", "token_of_the_webhook")
    aws(
        STRIPE_SECRET_KEY="aws-sm:autobook/stripe#secret_key",
        STRIPE_WEBHOOK_SECRETS="aws-sm:autobook/stripe#webhook",
        AUTOBOOK_SIGNING_SECRETS="aws-sm:autobook/feed",
        SUPABASE_URL="https://abc.supabase.co",
        SUPABASE_PUBLISHABLE_KEY="sb_publishable_for_pages",
        SUPABASE_TOKEN_WEBHOOK="aws-ssm:/autobook/token/webhook",
    )
    assert read(StripeSettings).stripe_secret_key.get_secret_value() == "sk_test_from_aws"
    assert webhook_secrets() == ["whsec_newest", "whsec_before"]
    assert len(read(MachineSettings).autobook_signing_secrets) == 2
    assert function_settings("webhook").supabase_function_token.get_secret_value() == "token_of_the_webhook"


def test_a_value_is_read_once_within_its_time_to_live(lambda_environment: SetEnvironment) -> None:
    with scripted(FOUND) as aws:
        lambda_environment(**environment(aws.url), STRIPE_WEBHOOK_SECRETS="aws-sm:s")
        assert {tuple(webhook_secrets()) for _ in range(50)} == {("the_value_there",)}
        assert read(WebhookSettings) is read(WebhookSettings)
        assert aws.asked == 1


def test_threads_that_come_at_once_ask_once(lambda_environment: SetEnvironment) -> None:
    with scripted(FOUND) as aws:
        lambda_environment(**environment(aws.url))
        shared, start = Secrets(), threading.Barrier(8)

        def value(_: int) -> str:
            start.wait()
            return shared.value("aws-sm:s")

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(value, range(8))) == {"the_value_there"}
        assert aws.asked == 1
        shared.forget()


def test_several_keys_of_one_secret_are_one_request(lambda_environment: SetEnvironment) -> None:
    with scripted((200, {"Name": "s", "SecretString": '{"a": "value_of_a", "b": "value_of_b"}'})) as aws:
        lambda_environment(**environment(aws.url))
        values = secrets.resolved({"x": "aws-sm:s#a", "y": "aws-sm:s#b", "z": "plain"})
        assert values == {"x": "value_of_a", "y": "value_of_b", "z": "plain"}
        assert aws.asked == 1


# --- rotation -------------------------------------------------------------------------------------------------------


def test_a_rotation_is_followed_after_the_time_to_live_and_not_before(aws: SetEnvironment, store: SecretStore) -> None:
    store.put("autobook/rotated", "whsec_before")
    aws(STRIPE_WEBHOOK_SECRETS="aws-sm:autobook/rotated")
    before = read(WebhookSettings)
    store.put("autobook/rotated", "whsec_afterwards")
    assert read(WebhookSettings) is before
    with pytest.MonkeyPatch.context() as time_passes:
        time_passes.setenv("AUTOBOOK_SECRETS_TTL_SECONDS", "0")
        assert webhook_secrets() == ["whsec_afterwards"]
        after = read(WebhookSettings)
        assert read(WebhookSettings) is after, "nothing is made anew while nothing changed"


def test_the_gateway_to_stripe_follows_the_key(aws: SetEnvironment, store: SecretStore) -> None:
    store.put("autobook/key", "sk_test_before")
    aws(STRIPE_SECRET_KEY="aws-sm:autobook/key", AUTOBOOK_SECRETS_TTL_SECONDS="0")
    before = stripe_gateway.gateway()
    assert stripe_gateway.gateway() is before
    store.put("autobook/key", "sk_test_afterwards")
    after = stripe_gateway.gateway()
    assert after is not before
    assert after._client._requestor.api_key == "sk_test_afterwards"


# --- AWS away, AWS saying no ----------------------------------------------------------------------------------------


def test_while_aws_is_away_what_is_held_goes_on_being_good(
    aws: SetEnvironment, store: SecretStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("autobook"), "propagate", True)
    store.put("autobook/away", "whsec_before")
    aws(STRIPE_WEBHOOK_SECRETS="aws-sm:autobook/away", AUTOBOOK_SECRETS_TTL_SECONDS="0")
    assert webhook_secrets() == ["whsec_before"]
    with store.away():
        assert webhook_secrets() == ["whsec_before"]
        assert "a secret is older than it should be" in caplog.text
    store.put("autobook/away", "whsec_afterwards")
    assert webhook_secrets() == ["whsec_afterwards"]


def test_a_start_while_aws_is_away_is_refused_and_the_next_one_is_not(aws: SetEnvironment, store: SecretStore) -> None:
    store.put("autobook/start", "whsec_there")
    aws(STRIPE_WEBHOOK_SECRETS="aws-sm:autobook/start")
    with store.away(), pytest.raises(SettingsError, match="STRIPE_WEBHOOK_SECRETS"):
        read(WebhookSettings)
    assert webhook_secrets() == ["whsec_there"]


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ThrottlingException"), (500, "InternalServiceError"), (503, "Unheard")]
)
def test_a_struggling_aws_is_an_aws_that_is_away(lambda_environment: SetEnvironment, status: int, code: str) -> None:
    with scripted(FOUND, (status, {"__type": code})) as aws:
        lambda_environment(**environment(aws.url), AUTOBOOK_SECRETS_TTL_SECONDS="0", STRIPE_WEBHOOK_SECRETS="aws-sm:s")
        assert [webhook_secrets() for _ in range(3)] == [["the_value_there"]] * 3
        assert aws.asked > 1


def test_requests_do_not_wait_for_aws_each_time_while_it_is_away(
    lambda_environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(FOUND, (503, {})) as aws:
        lambda_environment(**environment(aws.url), AUTOBOOK_SECRETS_TTL_SECONDS="60")
        shared = Secrets()
        shared.value("aws-sm:s")
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 61)
        assert {shared.value("aws-sm:s") for _ in range(20)} == {"the_value_there"}
        once = aws.asked
        assert 2 <= once <= 3, "one try, which botocore may repeat once"
        monkeypatch.setattr(time, "monotonic", lambda: now + 61 + secrets.RETRY_PAUSE_SECONDS)
        shared.value("aws-sm:s")
        assert aws.asked > once
        shared.forget()


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "DecryptionFailure"])
def test_a_secret_that_was_taken_away_is_not_kept(lambda_environment: SetEnvironment, code: str) -> None:
    """Whoever deletes a leaked secret, or our right to read it, wants it to be of no use any more."""
    with scripted(FOUND, (400, {"__type": code})) as aws:
        lambda_environment(**environment(aws.url), AUTOBOOK_SECRETS_TTL_SECONDS="0", STRIPE_WEBHOOK_SECRETS="aws-sm:s")
        assert webhook_secrets() == ["the_value_there"]
        for _ in range(2):
            with pytest.raises(SettingsError, match=code):
                read(WebhookSettings)


# --- a start that fails closed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (GONE, "aws-sm:s"),
        ((200, {"Name": "s", "SecretString": ""}), "aws-sm:s"),
        ((200, {"Name": "s", "SecretBinary": "AAAA"}), "aws-sm:s"),
        ((200, {"Name": "s", "SecretString": "no json at all s3cr3t"}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": '{"other": "s3cr3t_value"}'}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": '{"key": ""}'}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": '{"key": []}'}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": '{"key": ["s3cr3t_value", 1]}'}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": '{"key": ["s3cr3t_value", ""]}'}), "aws-sm:s#key"),
        ((200, {"Name": "s", "SecretString": "s3cr3t"}), "aws-sm:s"),
        ((200, {"Name": "s", "SecretString": "[" * 100_000}), "aws-sm:s#key"),
        (GONE, "aws-sm:"),
        (GONE, "aws-ssm:"),
        ((200, {"Parameter": {"Name": "s", "Value": ""}}), "aws-ssm:s"),
    ],
)
def test_what_is_missing_empty_or_malformed_is_refused_by_name_and_not_told(
    lambda_environment: SetEnvironment, answer: tuple[int, dict[str, object]], reference: str
) -> None:
    with scripted(answer) as aws:
        lambda_environment(**environment(aws.url), STRIPE_WEBHOOK_SECRETS=reference)
        with pytest.raises(SettingsError, match="STRIPE_WEBHOOK_SECRETS") as raised:
            read(WebhookSettings)
    error: BaseException | None = raised.value
    while error is not None:
        assert "s3cr3t" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("secret_key", "publishable_key", "fits"),
    [
        ("sk_live_1234567890", "pk_test_1234567890", False),
        ("rk_live_1234567890", "pk_test_1234567890", False),
        ("sk_test_1234567890", "pk_live_1234567890", False),
        ("pk_test_1234567890", "pk_test_1234567890", False),
        ("whsec_1234567890", "pk_test_1234567890", False),
        ("sk_live_1234567890", "pk_live_1234567890", True),
        ("rk_test_1234567890", "pk_test_1234567890", True),
    ],
)
def test_live_and_test_keys_do_not_mix(
    lambda_environment: SetEnvironment, secret_key: str, publishable_key: str, fits: bool
) -> None:
    lambda_environment(STRIPE_SECRET_KEY=secret_key, STRIPE_PUBLISHABLE_KEY=publishable_key)
    if fits:
        assert read(StripeSettings).livemode is ("_live_" in secret_key)
        return
    with pytest.raises(SettingsError, match="STRIPE_") as raised:
        read(StripeSettings)
    assert secret_key not in str(raised.value)


def test_keys_at_aws_do_not_mix_either_not_even_later(aws: SetEnvironment, store: SecretStore) -> None:
    store.put("autobook/mixed", {"sk": "sk_test_1234567890", "pk": "pk_test_1234567890"})
    aws(
        STRIPE_SECRET_KEY="aws-sm:autobook/mixed#sk",
        STRIPE_PUBLISHABLE_KEY="aws-sm:autobook/mixed#pk",
        AUTOBOOK_SECRETS_TTL_SECONDS="0",
    )
    assert not read(StripeSettings).livemode
    store.put("autobook/mixed", {"sk": "sk_live_1234567890", "pk": "pk_test_1234567890"})
    with pytest.raises(SettingsError, match="STRIPE_PUBLISHABLE_KEY"):
        stripe_gateway.gateway()


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon", "86401", "inf"])
def test_a_time_to_live_that_is_none_is_refused(lambda_environment: SetEnvironment, seconds: str) -> None:
    with scripted(FOUND) as aws:
        lambda_environment(**environment(aws.url), AUTOBOOK_SECRETS_TTL_SECONDS=seconds)
        shared = Secrets()
        shared.value("aws-sm:s")
        with pytest.raises(SecretUnavailable, match="AUTOBOOK_SECRETS_TTL_SECONDS"):
            shared.value("aws-sm:s")
        shared.forget()


def test_without_a_reference_boto3_stays_out() -> None:
    code = (
        "import os, sys\n"
        "from functions.shared.settings import WebhookSettings, read\n"
        "assert len(read(WebhookSettings).stripe_webhook_secrets) == 1\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"STRIPE_WEBHOOK_SECRETS": "whsec_plain"}, check=True, timeout=60
    )
