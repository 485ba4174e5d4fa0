"""notify from what is owed to what was sent: a real database behind REST, a mailbox that speaks SES, real boto3."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import boto3
import pytest
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

from functions.notify import handler
from functions.shared import database
from functions.shared.clock import Deadline
from functions.shared.database import DatabaseUnavailable
from functions.shared.settings import SettingsError
from local.lambda_runtime import ACCOUNT, REGION, LambdaContext
from local.mailbox import HANG_UP, Mailbox, Refusal
from tests.functions.notify.conftest import Office, SetEnvironment
from tests.functions.notify.samples import APP_URL

Printed = Callable[[], str]


def run(timeout_seconds: float = 60) -> dict[str, int]:
    return handler.handler({}, LambdaContext("notify", timeout_seconds, 512))


def owe_confirmed(office: Office, email: str = "ada@example.com") -> UUID:
    """Owe the message of a booking that was paid with the second card that was tried."""
    owed = office.owed
    user_id = owed.user(email)
    campaign_id = owed.campaign(user_id)
    booking_id = owed.booking(user_id, campaign_id, status="confirmed")
    owed.attempt(booking_id, user_id, owed.card(user_id, "0002"), 1, "declined")
    owed.attempt(booking_id, user_id, owed.card(user_id, "4444", "mastercard"), 2, "succeeded")
    data = {"amount_minor": 12500, "currency": "eur"}
    return owed.owe(user_id, "booking_confirmed", data, campaign_id=campaign_id, booking_id=booking_id)


def test_what_is_owed_is_sent_and_settled(office: Office, mailbox: Mailbox, printed: Printed) -> None:
    notification_id = owe_confirmed(office)

    assert run() == {"sent": 1}

    (message,) = mailbox.messages
    body = message["Content"]["Simple"]["Body"]
    assert mailbox.recipients() == ["ada@example.com"]
    assert mailbox.subjects() == ["Booked: Lisbon in May"]
    for form in ("Text", "Html"):
        assert "€125.00 was charged to your Mastercard ending in 4444." in body[form]["Data"]
        assert f"{APP_URL}/bookings/" in body[form]["Data"]
    assert office.owed.row(notification_id)["status"] == "sent"
    lines = [json.loads(line) for line in printed().splitlines()]
    assert [line["message"] for line in lines] == ["notification", "notifications"]
    assert (lines[0]["notification_id"], lines[0]["provider_id"]) == (str(notification_id), "message-1")
    assert lines[1]["sent"] == 1


def test_it_sends_once_however_often_it_runs(office: Office, mailbox: Mailbox) -> None:
    owe_confirmed(office)
    assert [run(), run(), run()] == [{"sent": 1}, {}, {}]
    assert len(mailbox.messages) == 1


def test_more_than_one_batch_goes_out_in_one_run(office: Office, mailbox: Mailbox) -> None:
    user_id = office.owed.user()
    for _ in range(23):
        office.owed.owe(user_id)
    office.owed.owe(office.owed.user(email=None))
    assert run() == {"sent": 23}
    assert len(mailbox.messages) == 23
    assert office.counts() == {"sent": 23, "dead": 1}


def test_two_at_once_send_each_message_once(office: Office, mailbox: Mailbox) -> None:
    assert run() == {}  # as a Lambda does, each makes its clients alone; here they share this process's
    for number in range(24):
        office.owed.owe(office.owed.user(f"user-{number}@example.com"))
    meeting = threading.Barrier(2, timeout=20)
    met = threading.Event()

    def wait_for_the_other(_message: dict[str, Any]) -> None:
        if not met.is_set():  # both have claimed before either has sent
            meeting.wait()
            met.set()

    mailbox.on_message = wait_for_the_other
    sent: list[int] = []
    threads = [threading.Thread(target=lambda: sent.append(run()["sent"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(sent) == 2
    assert sum(sent) == 24
    assert sorted(mailbox.recipients()) == sorted(f"user-{number}@example.com" for number in range(24))


# --- when it does not work --------------------------------------------------------------------------------------------


def test_a_failed_try_waits_and_is_sent_later(office: Office, mailbox: Mailbox) -> None:
    notification_id = owe_confirmed(office)
    mailbox.answers = [Refusal(500, "InternalFailure")]
    assert run() == {"retry": 1}
    row = office.owed.row(notification_id)
    assert (row["status"], row["tries"], row["last_error"]) == ("pending", 1, "InternalFailure")
    assert run() == {}
    office.owed.make_due()
    assert run() == {"sent": 1}
    assert len(mailbox.messages) == 1


def test_eight_failures_end_it_and_an_engineer_is_told(office: Office, mailbox: Mailbox) -> None:
    notification_id = owe_confirmed(office)
    mailbox.answers = [Refusal(500, "InternalFailure")] * 9
    for _ in range(8):
        assert run() == {"retry": 1}
        office.owed.make_due()
    assert run() == {}
    assert office.owed.row(notification_id)["status"] == "dead"
    assert len(mailbox.refused) == 8
    assert office.owed.incidents() == [("notification_dead", "booking_confirmed could not be sent: InternalFailure")]


def test_one_that_is_refused_for_good_does_not_hold_up_the_others(office: Office, mailbox: Mailbox) -> None:
    refused, sent = owe_confirmed(office, "nobody@example.com"), owe_confirmed(office)
    mailbox.answers = [Refusal(400, "MessageRejected", "no such person")]
    assert run() == {"dead": 1, "sent": 1}
    assert office.owed.row(refused)["last_error"] == "MessageRejected"
    assert office.owed.row(sent)["status"] == "sent"


def test_a_provider_that_takes_nothing_is_asked_once_a_run_and_costs_no_tries(office: Office, mailbox: Mailbox) -> None:
    ids = [owe_confirmed(office, f"user-{number}@example.com") for number in range(12)]
    mailbox.answers = [Refusal(400, "SendingPausedException")] * 2
    assert run() == {"released": 10}
    assert len(mailbox.refused) == 1
    assert [office.owed.row(one)["tries"] for one in ids] == [0] * 12
    assert run() == {"released": 10}
    # Another message is tried first each time, so that none can stand in the way of all.
    assert [message["Destination"]["ToAddresses"] for message in mailbox.refused] == [
        ["user-0@example.com"],
        ["user-10@example.com"],
    ]
    office.owed.make_due()
    assert run() == {"sent": 12}
    assert office.owed.incidents() == [("mail_provider", "No mail goes out: SendingPausedException")]


def test_a_message_that_cannot_be_written_is_kept_for_those_who_can(office: Office, mailbox: Mailbox) -> None:
    unknown = office.owed.owe(office.owed.user(), "a_kind_of_tomorrow")
    unreadable = office.owed.owe(office.owed.user(), "refund_issued", {"amount_minor": "a lot", "currency": "eur"})
    fine = owe_confirmed(office)
    assert run() == {"retry": 2, "sent": 1}
    assert office.owed.row(unknown)["last_error"] == "no_template"
    assert office.owed.row(unreadable)["last_error"] == "unreadable"
    assert office.owed.row(fine)["status"] == "sent"
    assert len(mailbox.messages) == 1


def test_nothing_is_leased_by_a_function_that_cannot_send(
    office: Office, mailbox: Mailbox, environment: SetEnvironment
) -> None:
    notification_id = owe_confirmed(office)
    environment(APP_URL=None)
    with pytest.raises(SettingsError, match="APP_URL"):
        run()
    assert office.owed.row(notification_id)["tries"] == 0
    assert mailbox.messages == []


# --- time -------------------------------------------------------------------------------------------------------------


def test_with_too_little_time_nothing_is_begun(office: Office, mailbox: Mailbox) -> None:
    notification_id = owe_confirmed(office)
    assert run(timeout_seconds=10) == {}
    assert office.owed.row(notification_id)["tries"] == 0
    assert mailbox.messages == []


@dataclass(frozen=True)
class EachMessageTakes(Deadline):
    """A minute's deadline for slow messages, without the wait."""

    mailbox: Mailbox
    seconds: float

    def remaining_seconds(self) -> float:
        """What the messages have left of the minute."""
        return 60 - self.seconds * len(self.mailbox.messages)


def test_what_time_does_not_allow_is_given_back_untried(office: Office, mailbox: Mailbox) -> None:
    user_id = office.owed.user()
    ids = [office.owed.owe(user_id) for _ in range(5)]
    counts = handler._send_due(database.as_function("notify", "test"), EachMessageTakes(0, mailbox, seconds=20))
    assert counts == {"sent": 3, "released": 2}
    assert [office.owed.row(one)["status"] for one in ids] == ["sent"] * 3 + ["pending"] * 2
    assert [office.owed.row(one)["tries"] for one in ids[3:]] == [0, 0]
    assert run() == {"sent": 2}


# --- crashes and outages between the steps ----------------------------------------------------------------------------


def test_a_crash_after_ses_took_it_sends_again_only_when_the_lease_has_ended(office: Office, mailbox: Mailbox) -> None:
    notification_id = owe_confirmed(office)
    program = "from functions.notify.handler import handler; handler({}, None)"
    process: subprocess.Popen[bytes]
    # The message is in SES's hands and its answer not yet given when the process dies.
    mailbox.on_message = lambda _message: process.send_signal(signal.SIGKILL)
    process = subprocess.Popen([sys.executable, "-c", program])
    assert process.wait(timeout=30) == -signal.SIGKILL
    mailbox.on_message = None
    row = office.owed.row(notification_id)
    assert (row["status"], row["tries"]) == ("pending", 1)

    assert run() == {}
    office.owed.make_due()
    assert run() == {"sent": 1}
    assert len(mailbox.messages) == 2


@pytest.mark.parametrize(("when", "action"), [("before", "http_503"), ("after_commit", "drop_connection")])
def test_a_database_that_blinks_while_a_message_is_settled_costs_no_second_one(
    office: Office, mailbox: Mailbox, when: str, action: str
) -> None:
    notification_id = owe_confirmed(office)
    office.disturb("settle_notification", action, when=when, times=3)
    assert run() == {"sent": 1}
    assert office.owed.row(notification_id)["status"] == "sent"
    office.owed.make_due()
    assert run() == {}
    assert len(mailbox.messages) == 1


def test_a_database_that_stays_away_is_reported_and_nothing_more_is_sent(
    office: Office, mailbox: Mailbox, printed: Printed
) -> None:
    for _ in range(3):
        owe_confirmed(office)
    office.disturb("settle_notification", "http_503", times=None)
    with pytest.raises(DatabaseUnavailable):
        handler._send_due(database.as_function("notify", "test"), EachMessageTakes(0, mailbox, seconds=55))
    assert len(mailbox.messages) == 1
    assert '"message": "could not be settled"' in printed()


def test_a_database_that_is_away_from_the_start_fails_the_run(office: Office, mailbox: Mailbox) -> None:
    owe_confirmed(office)
    office.disturb("claim_notifications", "http_503")
    with pytest.raises(DatabaseUnavailable):
        run()
    assert run() == {"sent": 1}
    assert len(mailbox.messages) == 1


def test_a_lost_answer_is_tried_again_later_and_not_at_once(office: Office, mailbox: Mailbox) -> None:
    notification_id = owe_confirmed(office)
    mailbox.answers = [HANG_UP]
    assert run() == {"retry": 1}
    assert run() == {}
    assert office.owed.row(notification_id)["last_error"] == "ConnectionClosedError"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_nobodys_address_nor_words_nor_key_is_logged(office: Office, mailbox: Mailbox, printed: Printed) -> None:
    for _ in range(6):
        owe_confirmed(office, "very.private@example.com")
    office.owed.owe(office.owed.user("very.private@example.com"), "a_kind_of_tomorrow")
    office.owed.owe(office.owed.user("very.private@example.com"), "refund_issued", {"amount_minor": "very private"})
    unverified = "Email address is not verified: very.private@example.com"
    mailbox.answers = [
        Refusal(400, "MessageRejected", unverified),
        Refusal(400, "BadRequestException", "Illegal address very.private@example.com"),
        Refusal(500, "InternalFailure", "very.private@example.com"),
        HANG_UP,
        Refusal(400, "SendingPausedException", "very.private@example.com"),
    ]
    run()
    office.owed.make_due()
    run()
    output = printed()
    assert output.count('"notification_id"') >= 8
    for private in (
        "private",
        "example.com",
        "Lisbon",
        "4444",
        "\N{EURO SIGN}",
        "Bearer",
        os.environ["SUPABASE_TOKEN_NOTIFY"],
    ):
        assert private not in output
    stored = office.owed.db.execute(
        "select string_agg(concat_ws(' ', n.last_error), ' ') from public.notifications as n"
    ).fetchone()
    assert stored is not None
    assert "private" not in stored[0]
    assert "private" not in str(office.owed.incidents())


# --- moto's SES -------------------------------------------------------------------------------------------------------


@pytest.fixture
def moto_ses(environment: SetEnvironment) -> Iterator[str]:
    """moto's server; it keeps what was sent to verified senders' names, in this process."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment(AWS_ENDPOINT_URL_SESV2=f"http://{host}:{port}")
    ses_backends[ACCOUNT][REGION].reset()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.usefixtures("moto_ses")
def test_motos_ses_takes_it_from_a_verified_sender_only(office: Office) -> None:
    notification_id = owe_confirmed(office)
    assert run() == {"released": 1}
    assert office.owed.row(notification_id)["last_error"] == "sender_not_verified"

    boto3.client("sesv2").create_email_identity(EmailIdentity="example.com")
    office.owed.make_due()
    assert run() == {"sent": 1}
    (message,) = ses_backends[ACCOUNT][REGION].sent_messages
    assert message.destinations == {"ToAddresses": ["ada@example.com"]}
    assert message.subject == "Booked: Lisbon in May"
    assert "charged to your Mastercard ending in 4444" in message.body
