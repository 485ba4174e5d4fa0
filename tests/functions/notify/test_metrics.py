"""What notify tells CloudWatch of a run."""

import pytest

from functions.shared.settings import SettingsError
from local import emf
from local.mailbox import Mailbox, Refusal
from tests.functions.notify.conftest import Office, SetEnvironment
from tests.functions.notify.test_handler import owe_confirmed, run


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, list[float]]:
    """The values by metric."""
    found = emf.samples(capsys.readouterr().out.splitlines())
    return {name: found.values(name) for name in found.by_name}


def test_messages_are_counted_by_how_they_ended(
    office: Office, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]
) -> None:
    for email in ("ada@example.com", "ben@example.com", "chiara@example.com"):
        owe_confirmed(office, email)
    mailbox.answers.append(Refusal(400, "MessageRejected"))
    run()
    assert told(capsys) == {"ServerErrors": [0], "NotificationsSent": [2], "NotificationsFailed": [1]}


def test_a_set_up_that_can_send_nothing_is_an_error(
    office: Office, environment: SetEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    owe_confirmed(office)
    environment(NOTIFY_FROM_ADDRESS=None)
    with pytest.raises(SettingsError):
        run()
    assert told(capsys) == {"ServerErrors": [1]}
