"""What the functions need of AWS: the queue with its dead letters, and a sender that SES lets send to anybody."""

from collections.abc import Iterator
from contextlib import closing
from email.utils import parseaddr
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.aws import client
from local.doctor.finding import Finding, fail, ok, unknown, warn
from local.doctor.patient import Patient

_ASK = "run doctor with credentials of the account (AWS_PROFILE) that may read it"
FUNCTION_TIMEOUT_SECONDS = 29


def queue_is_there(patient: Patient) -> Iterator[Finding]:
    """The queue between offers and charges, and what it does with what cannot be charged."""
    url = patient.get("CHARGE_QUEUE_URL")
    if not url:
        return  # settings.queue says so
    try:
        with closing(client("sqs")) as sqs:
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except ClientError as error:
        code = _code(error)
        if "NonExistentQueue" in code:
            yield fail(
                "queue.reachable",
                "there is no queue at CHARGE_QUEUE_URL: offers would be matched and not charged until reconcile",
                "deploy, and set CHARGE_QUEUE_URL to the queue's URL of this stage and region",
            )
        else:
            yield unknown("queue.reachable", f"SQS answered {code}", _ASK)
        return
    except BotoCoreError as error:
        yield unknown("queue.reachable", f"SQS could not be asked ({type(error).__name__})", _ASK)
        return
    yield ok("queue.reachable", f"{attributes['ApproximateNumberOfMessages']} message(s) waiting")
    if "RedrivePolicy" not in attributes:
        yield fail(
            "queue.dead_letters",
            "the queue has no dead-letter queue: a message that cannot be charged comes again for days",
            "deploy the template again, which gives it one",
        )
    elif patient.stage != "local" and int(attributes["VisibilityTimeout"]) < FUNCTION_TIMEOUT_SECONDS:
        yield fail(
            "queue.visibility",
            f"messages come back after {attributes['VisibilityTimeout']} seconds, while they are still being charged",
            f"set the visibility timeout to six times the function's ({6 * FUNCTION_TIMEOUT_SECONDS} seconds)",
        )
    else:
        yield ok("queue.dead_letters", "it has a dead-letter queue")


def sender_may_send(patient: Patient) -> Iterator[Finding]:
    """The sender's identity is verified, SES is out of its sandbox, the configuration set is there."""
    address = parseaddr(patient.get("NOTIFY_FROM_ADDRESS"))[1]
    if not address or patient.stage == "local":
        return
    with closing(client("sesv2")) as ses:
        yield _identity(ses, address)
        yield _sandbox(ses, patient)
        if name := patient.get("SES_CONFIGURATION_SET"):
            yield _configuration_set(ses, name)


def _sandbox(ses: Any, patient: Patient) -> Finding:
    try:
        account = ses.get_account()
    except (ClientError, BotoCoreError) as error:
        return unknown("mail.sandbox", f"SES could not be asked ({_code(error)})", _ASK)
    if not account.get("SendingEnabled", True):
        return fail("mail.sandbox", "SES has paused our sending", "see Reputation metrics in the SES console")
    if account.get("ProductionAccessEnabled"):
        return ok("mail.sandbox", "SES sends to anybody")
    return (fail if patient.is_production else warn)(
        "mail.sandbox",
        "SES is in its sandbox: it sends to verified addresses alone, so users are not told",
        "ask for production access in the SES console (Account dashboard)",
    )


def _configuration_set(ses: Any, name: str) -> Finding:
    try:
        ses.get_configuration_set(ConfigurationSetName=name)
    except ClientError as error:
        if _code(error) == "NotFoundException":
            return fail(
                "mail.configuration_set",
                "SES has no configuration set of that name in this region: every message would be refused",
                "create it, or unset SES_CONFIGURATION_SET",
            )
        return unknown("mail.configuration_set", f"SES answered {_code(error)}", _ASK)
    except BotoCoreError as error:
        return unknown("mail.configuration_set", f"SES could not be asked ({_code(error)})", _ASK)
    return ok("mail.configuration_set", "there")


def _identity(ses: Any, address: str) -> Finding:
    """Of the address, or else of its domain."""
    domain = address.partition("@")[2]
    for identity in (address, domain):
        try:
            if ses.get_email_identity(EmailIdentity=identity).get("VerifiedForSendingStatus"):
                return ok("mail.sender", f"{identity} is verified")
        except ClientError as error:
            if _code(error) != "NotFoundException":
                return unknown("mail.sender", f"SES answered {_code(error)}", _ASK)
        except BotoCoreError as error:
            return unknown("mail.sender", f"SES could not be asked ({_code(error)})", _ASK)
    return fail(
        "mail.sender",
        f"neither the sender's address nor its domain {domain} is verified with SES in this region",
        "verify the domain in the SES console (Identities) and publish its DKIM records",
    )


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code") or "an error")
    return type(error).__name__


CHECKS = (queue_is_there, sender_may_send)
