"""Each function's secret at AWS: written from the environment, whole, and to nobody's eyes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.deploy import __main__ as command
from local.deploy import secrets
from local.deploy.functions import FUNCTIONS

TOKENS = {f"SUPABASE_TOKEN_{function.folder.upper()}": f"token of {function.folder}" for function in FUNCTIONS}
HELD = TOKENS | {
    "SUPABASE_URL": "https://abcdefgh.supabase.co",
    "STRIPE_SECRET_KEY": "rk_test_for_all",
    "STRIPE_SECRET_KEY_WEBHOOK": "rk_test_for_webhook",
    "STRIPE_WEBHOOK_SECRETS": "whsec_new,whsec_old",
    "AUTOBOOK_SIGNING_SECRETS": "absec_one",
}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty Secrets Manager."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-central-1")


def test_a_function_gets_what_it_refers_to_and_a_key_of_its_own(vault: Any) -> None:
    assert set(secrets.missing_at_aws(vault, "dev")) == {f"autobook/dev/{function.name}" for function in FUNCTIONS}

    secrets.put(vault, "dev", secrets.from_environment(HELD))

    assert secrets.missing_at_aws(vault, "dev") == []
    assert json.loads(vault.get_secret_value(SecretId="autobook/dev/webhook")["SecretString"]) == {
        "supabase_token": "token of webhook",
        "stripe_secret_key": "rk_test_for_webhook",
        "stripe_webhook_secrets": "whsec_new,whsec_old",
    }
    assert json.loads(vault.get_secret_value(SecretId="autobook/dev/campaigns")["SecretString"]) == {
        "supabase_token": "token of campaigns"
    }


def test_only_what_has_changed_is_written_again(vault: Any) -> None:
    assert len(secrets.put(vault, "dev", secrets.from_environment(HELD))) == len(FUNCTIONS)
    assert secrets.put(vault, "dev", secrets.from_environment(HELD)) == []
    rotated = HELD | {"STRIPE_WEBHOOK_SECRETS": "whsec_newest,whsec_new"}
    assert secrets.put(vault, "dev", secrets.from_environment(rotated)) == ["autobook/dev/webhook"]


def test_what_is_missing_is_named(vault: Any) -> None:
    with pytest.raises(secrets.SecretsMissing, match=r"lacks STRIPE_WEBHOOK_SECRETS$"):
        secrets.from_environment(HELD | {"STRIPE_WEBHOOK_SECRETS": ""})
    secrets.put(vault, "dev", secrets.from_environment(HELD))
    vault.put_secret_value(SecretId="autobook/dev/offers", SecretString='{"supabase_token": "x"}')
    assert secrets.missing_at_aws(vault, "dev") == ["autobook/dev/offers#signing_secrets"]


def test_the_command_tells_names_and_no_values(
    vault: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in HELD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STAGE", raising=False)
    assert command.main(["secrets", "--stage", "staging"]) == 0
    printed = capsys.readouterr().out
    assert "autobook/staging/webhook" in printed
    assert not [value for name, value in HELD.items() if name != "SUPABASE_URL" and value in printed]

    monkeypatch.setenv("STAGE", "prod")
    assert command.main(["secrets", "--stage", "staging"]) == 2
    assert "STAGE=prod" in capsys.readouterr().out
