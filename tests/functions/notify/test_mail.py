"""Handing a message to SES with the real boto3: what it sends, and what each answer means."""

from typing import Any
from uuid import UUID

import pytest
from botocore.exceptions import NoRegionError

from functions.notify import mail
from functions.notify.mail import Outcome
from functions.notify.templates import Letter
from functions.shared.settings import SettingsError
from local.mailbox import HANG_UP, Mailbox, Refusal
from local.postgres import free_port
from tests.functions.notify.conftest import FROM, SetEnvironment

LETTER = Letter("Booked: Zürich ✈", "Grüezi: text", "<p>Grüezi: page</p>")
NOTIFICATION_ID = UUID("9a3f6f0e-52b1-4c83-8f4e-6f1de2b7c001")


def send() -> Outcome:
    return mail.send(LETTER, to="ada@example.com", notification_id=NOTIFICATION_ID)


def test_a_message_goes_out_once_with_both_forms_and_without_tracking(mailbox: Mailbox) -> None:
    assert send() == Outcome("sent", provider_id="message-1")
    assert mailbox.messages == [
        {
            "FromEmailAddress": FROM,
            "Destination": {"ToAddresses": ["ada@example.com"]},
            "Content": {
                "Simple": {
                    "Subject": {"Data": LETTER.subject, "Charset": "UTF-8"},
                    "Body": {
                        "Text": {"Data": LETTER.text, "Charset": "UTF-8"},
                        "Html": {"Data": LETTER.html, "Charset": "UTF-8"},
                    },
                    "Headers": [{"Name": "Auto-Submitted", "Value": "auto-generated"}],
                }
            },
            "ConfigurationOverrides": {
                "Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}
            },
        }
    ]


def test_with_a_configuration_set_bounces_can_be_told_apart(mailbox: Mailbox, environment: SetEnvironment) -> None:
    environment(SES_CONFIGURATION_SET="transactional")
    assert send().name == "sent"
    (message,) = mailbox.messages
    assert message["ConfigurationSetName"] == "transactional"
    assert message["EmailTags"] == [{"Name": "notification_id", "Value": str(NOTIFICATION_ID)}]


_UNVERIFIED = "Email address is not verified. The following identities failed the check in region EU-CENTRAL-1: "


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Refusal(400, "MessageRejected", "Message contains a virus"), Outcome("dead", "MessageRejected")),
        (Refusal(400, "BadRequestException", "Illegal address"), Outcome("dead", "BadRequestException")),
        (
            Refusal(400, "MessageRejected", f"{_UNVERIFIED}ada@example.com"),
            Outcome("retry", "recipient_not_verified"),
        ),
        (
            Refusal(400, "MessageRejected", f"{_UNVERIFIED}bookings@example.com"),
            Outcome("released", "sender_not_verified", blocked=True),
        ),
        (
            Refusal(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
            Outcome("released", "TooManyRequestsException", blocked=True),
        ),
        (
            Refusal(400, "SendingPausedException"),
            Outcome("released", "SendingPausedException", blocked=True),
        ),
        (Refusal(403, "AccessDeniedException"), Outcome("released", "AccessDeniedException", blocked=True)),
        (Refusal(404, "NotFoundException"), Outcome("released", "NotFoundException", blocked=True)),
        (Refusal(500, "InternalFailure"), Outcome("retry", "InternalFailure")),
        (Refusal(400, "SomethingNew"), Outcome("retry", "SomethingNew")),
        (Refusal(400, "odd code: ada@example.com"), Outcome("retry", "odd_code:_ada_example.com")),
    ],
    ids=lambda value: value.message or value.code if isinstance(value, Refusal) else value.name,
)
def test_each_refusal_has_its_outcome_and_is_asked_for_once(
    mailbox: Mailbox, refusal: Refusal, outcome: Outcome
) -> None:
    mailbox.answers = [refusal]
    if "odd code" in refusal.code:
        # botocore takes what stands before a colon for the code.
        outcome = Outcome("retry", "odd_code")
    assert send() == outcome
    assert (len(mailbox.refused), mailbox.messages) == (1, [])


def test_a_lost_answer_may_be_a_message_that_was_sent_so_it_is_not_repeated_here(mailbox: Mailbox) -> None:
    mailbox.answers = [HANG_UP]
    assert send() == Outcome("retry", "ConnectionClosedError")
    assert len(mailbox.messages) == 1


def test_where_nobody_listens_nothing_was_sent(environment: SetEnvironment) -> None:
    environment(AWS_ENDPOINT_URL_SESV2=f"http://127.0.0.1:{free_port()}")
    assert send() == Outcome("released", "EndpointConnectionError", blocked=True)


def test_without_credentials_nothing_was_sent(mailbox: Mailbox, environment: SetEnvironment) -> None:
    environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert send() == Outcome("released", "NoCredentialsError", blocked=True)
    assert mailbox.messages == []


def test_what_boto3_will_not_send_is_refused_for_good(mailbox: Mailbox) -> None:
    nobody: Any = None
    assert mail.send(LETTER, to=nobody, notification_id=NOTIFICATION_ID) == Outcome("dead", "invalid_parameters")
    assert mailbox.messages == []


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"NOTIFY_FROM_ADDRESS": None}, "NOTIFY_FROM_ADDRESS"),
        ({"NOTIFY_FROM_ADDRESS": "nobody"}, "NOTIFY_FROM_ADDRESS"),
        ({"NOTIFY_FROM_ADDRESS": "A <a@example.com>\nBcc: eve@example.com"}, "NOTIFY_FROM_ADDRESS"),
        ({"APP_URL": "https://app.example.com/"}, "APP_URL"),
        ({"APP_URL": "javascript:alert(1)"}, "APP_URL"),
        ({"SES_CONFIGURATION_SET": ""}, "SES_CONFIGURATION_SET"),
    ],
)
def test_settings_that_can_send_nothing_are_refused_by_name(
    environment: SetEnvironment, variables: dict[str, str | None], complaint: str
) -> None:
    environment(**variables)
    with pytest.raises(SettingsError, match=complaint):
        mail.get_ready()


def test_without_a_region_there_is_no_client(environment: SetEnvironment) -> None:
    environment(AWS_REGION=None, AWS_DEFAULT_REGION=None)
    with pytest.raises(NoRegionError):
        mail.get_ready()
