"""Handing a message to the mail provider: Amazon SES. Another provider is another `send` that gives an Outcome.

SES has no idempotency key, so nothing is repeated in here: whether a message is tried again is the database's decision,
which knows of every try (sql/0040_notify_functions.sql).
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from functions.notify.settings import NotifySettings
from functions.notify.templates import Letter
from functions.shared.settings import read

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.type_defs import SendEmailRequestTypeDef

CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 5
LONGEST_SECONDS: Final = CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS
"""How long `send` may take; SES answers in a tenth of a second."""

_REFUSED: Final = frozenset({"MessageRejected", "BadRequestException", "InvalidParameterValue"})
"""SES will never take this message: it says so of the content or of the address."""
_BLOCKED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AccountSuspendedException",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "LimitExceededException",
        "MailFromDomainNotVerifiedException",
        "NotFoundException",  # the configuration set
        "SendingPausedException",
        "SignatureDoesNotMatch",
        "ThrottlingException",
        "TooManyRequestsException",
        "UnrecognizedClientException",
    }
)
"""SES takes nothing from this account for now, whatever the message: quota, pause, rights, set-up."""
_UNREACHED: Final = (ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, CredentialRetrievalError)
"""SES has not heard of the message."""
_CODE: Final = re.compile(r"[^A-Za-z0-9_.:-]")


@dataclass(frozen=True)
class Outcome:
    """How a try ended, in the words of `settle_notification`.

    sent: the provider took it; retry: it may work later; dead: it never will; released: it does not count as a try.
    `error` is a code and never a sentence, because a provider's sentences quote addresses. `blocked`: the next message
    would fare no better.
    """

    name: Literal["sent", "retry", "dead", "released"]
    error: str | None = None
    blocked: bool = False
    provider_id: str | None = None


@cache
def _ses() -> "SESV2Client":
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1},  # a repeat after a lost answer is a second message
        user_agent="autobook",  # as of the queue's client (functions/shared/charge_queue.py)
    )
    return boto3.client("sesv2", config=config)


def get_ready() -> None:
    """Raise what is wrong with our own set-up before a message is leased. Raises SettingsError, BotoCoreError."""
    read(NotifySettings)
    _ses()


def send(letter: Letter, *, to: str, notification_id: UUID) -> Outcome:
    """Send one message to one address. Never raises for what SES or the way to it can do."""
    try:
        answer = _ses().send_email(**_request(letter, to, notification_id))
    except ClientError as error:
        return _refusal(error)
    except ParamValidationError:
        return Outcome("dead", "invalid_parameters")
    except _UNREACHED as error:
        return Outcome("released", type(error).__name__, blocked=True)
    except BotoCoreError as error:
        # A lost answer: SES may have taken the message, and one too many is better than one too few.
        return Outcome("retry", type(error).__name__)
    return Outcome("sent", provider_id=answer["MessageId"])


def _request(letter: Letter, to: str, notification_id: UUID) -> "SendEmailRequestTypeDef":
    settings = read(NotifySettings)
    request: SendEmailRequestTypeDef = {
        "FromEmailAddress": settings.notify_from_address,
        "Destination": {"ToAddresses": [to]},
        "Content": {
            "Simple": {
                "Subject": {"Data": letter.subject, "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": letter.text, "Charset": "UTF-8"},
                    "Html": {"Data": letter.html, "Charset": "UTF-8"},
                },
                # So that holiday replies are not sent (RFC 3834).
                "Headers": [{"Name": "Auto-Submitted", "Value": "auto-generated"}],
            }
        },
        # No pixel and no rewritten links, whatever the account or the configuration set says.
        "ConfigurationOverrides": {"Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}},
    }
    if settings.ses_configuration_set is not None:
        request["ConfigurationSetName"] = settings.ses_configuration_set
        request["EmailTags"] = [{"Name": "notification_id", "Value": str(notification_id)}]
    return request


def _refusal(error: ClientError) -> Outcome:
    details = error.response.get("Error", {})
    code = _CODE.sub("_", str(details.get("Code") or "unknown"))[:100]
    if code == "MessageRejected" and "not verified" in details.get("Message", ""):
        # Of the sender it is our set-up; of the recipient it is SES's sandbox, which somebody is about to leave.
        sender = read(NotifySettings).notify_from_address.rpartition("<")[2].rstrip(">")
        if sender in details["Message"]:
            return Outcome("released", "sender_not_verified", blocked=True)
        return Outcome("retry", "recipient_not_verified")
    if code in _BLOCKED:
        return Outcome("released", code, blocked=True)
    if code in _REFUSED:
        return Outcome("dead", code)
    return Outcome("retry", code)
