"""What the tests of the deployment share: the packaged template, and words for what can't run here."""

import os
from pathlib import Path
from typing import Any

import pytest

from local.deploy import service
from local.deploy.package import build
from local.deploy.packages import LAMBDA

needs_time = pytest.mark.skipif(
    not os.environ.get("AUTOBOOK_SLOW"), reason="takes its time: `make test-deploy` runs it, and .ci/run"
)

SETTINGS = {
    "SUPABASE_URL": "https://abcdefgh.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_test",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_1234567890",
    "STRIPE_API_BASE": "https://api.stripe.com",
    "APP_URL": "https://app.example.com",
    "NOTIFY_FROM_ADDRESS": "Autobook <bookings@example.com>",
    "SES_IDENTITY": "example.com",
    "ALARM_EMAIL": "oncall@example.com",
    # osls asks for an account's name to sign with, even when it asks AWS nothing.
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_REGION": "eu-central-1",
}
"""What `make deploy` reads from the environment."""


def needs_osls() -> None:
    """Skip, in words, where osls neither is installed nor can be."""
    reason = service.why_not_here()
    if reason is None and not service.is_ready() and not os.environ.get("AUTOBOOK_NO_SKIPS"):
        reason = "osls is not installed here: `make test-deploy` installs it"
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def osls() -> None:
    """osls, installed."""
    needs_osls()
    service.get_ready()


def made(stage: str, directory: Path) -> dict[str, Any]:
    """The template of a stage, as it would be sent to CloudFormation."""
    for name in ("SUPABASE_JWT_ISSUER", "SES_CONFIGURATION_SET"):
        assert name not in os.environ, f"{name} of this shell would be read too"
    build(LAMBDA)  # osls wants to see the zips that the template names
    return service.template(stage, SETTINGS, directory)


@pytest.fixture(scope="session")
def template_file(osls: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that osls writes for CloudFormation, of the stage prod."""
    directory = tmp_path_factory.mktemp("prod")
    made("prod", directory)
    return directory / "cloudformation-template-update-stack.json"
