"""notify: every minute, sends the notifications that are due. A schedule starts it; nothing reaches it over HTTP.

Each message goes through three steps: the database leases it to us, the mail provider takes it, the database is told.
A crash before the second step costs a wait, one between the second and the third a second message: SES has no
idempotency key. So the third step is repeated while there is time, and a lease outlives us.
"""

import logging
import math
from collections import Counter
from typing import Any, Final
from uuid import uuid4

from jinja2 import TemplateError
from pydantic import ValidationError

from functions.notify import mail, templates
from functions.notify.mail import Outcome
from functions.notify.notice import Notice
from functions.notify.settings import NotifySettings
from functions.shared import database, logs, metrics
from functions.shared.clock import Deadline
from functions.shared.database import Database, DatabaseUnavailable
from functions.shared.settings import read
from functions.shared.surroundings import surroundings

BATCH: Final = 10
"""How many messages one call leases: few, because those that time does not allow to be sent are given back."""
LEASE_MARGIN_SECONDS: Final = 60
"""How much longer than our own life a lease lasts: no clock of ours is compared with the database's."""
NEEDED_SECONDS: Final = mail.LONGEST_SECONDS + database.TIMEOUT_SECONDS + 1
"""What must be left for a message to be sent and settled."""


def notify(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """Send what is due, as long as the invocation lasts; gives how many messages ended how.

    Raises DatabaseUnavailable, and SettingsError or BotoCoreError for a set-up that can send nothing, so that Lambda
    counts the failure: what is owed is still owed in a minute.
    """
    logs.set_up()
    deadline = Deadline.of_lambda(context)
    request_id = str(getattr(context, "aws_request_id", None) or uuid4().hex)
    with logs.bound(request_id=request_id), metrics.invocation("notify"):
        mail.get_ready()
        counts = _send_due(database.as_function("notify", request_id), deadline)
        logs.log(logging.INFO, "notifications", **counts)
        metrics.add("NotificationsSent", counts.get("sent", 0))
        metrics.add("NotificationsFailed", sum(counts.values()) - counts.get("sent", 0) - counts.get("released", 0))
    return counts


def _send_due(rows: Database, deadline: Deadline) -> dict[str, int]:
    counts: Counter[str] = Counter()
    stopped = False
    while not stopped and deadline.remaining_seconds() > NEEDED_SECONDS + database.TIMEOUT_SECONDS:
        lease_seconds = math.ceil(deadline.remaining_seconds()) + LEASE_MARGIN_SECONDS
        claimed = rows.call("claim_notifications", p_limit=BATCH, p_lease_seconds=lease_seconds)
        if claimed["examined"] == 0:
            break
        for row in claimed["notifications"]:
            stopped = stopped or deadline.remaining_seconds() < NEEDED_SECONDS
            outcome = Outcome("released") if stopped else _deliver(row)
            stopped = stopped or outcome.blocked
            counts[outcome.name] += 1
            _settle(rows, row, outcome, deadline)
    return dict(counts)


def _deliver(row: dict[str, Any]) -> Outcome:
    """One message, from its row to the provider. What is wrong with it stops no other."""
    try:
        notice = Notice.model_validate(row)
        letter = templates.write(notice, read(NotifySettings).app_url)
    except ValidationError:
        return Outcome("retry", "unreadable")
    except templates.UnknownKindError:
        return Outcome("retry", "no_template")
    except TemplateError as error:
        return Outcome("retry", f"template:{type(error).__name__}")
    return mail.send(letter, to=notice.email, notification_id=notice.id)


def _settle(rows: Database, row: dict[str, Any], outcome: Outcome, deadline: Deadline) -> None:
    """Tell the database, again and again while there is time: a message that was sent must not stay owed."""
    wait_seconds = 0.1
    while True:
        try:
            settled = rows.call(
                "settle_notification",
                p_id=row["id"],
                p_try=row["try"],
                p_outcome=outcome.name,
                p_error=outcome.error,
            )
            break
        except DatabaseUnavailable:
            if deadline.remaining_seconds() < wait_seconds + database.TIMEOUT_SECONDS:
                _log(logging.ERROR, "could not be settled", row, outcome)
                raise
            surroundings().sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, 2.0)
    as_expected = settled == outcome.name and outcome.name in ("sent", "released") and not outcome.blocked
    _log(logging.INFO if as_expected else logging.WARNING, "notification", row, outcome, settled)


def _log(level: int, message: str, row: dict[str, Any], outcome: Outcome, settled: str | None = None) -> None:
    """Ids and codes: neither the address nor the words."""
    logs.log(
        level,
        message,
        notification_id=row["id"],
        kind=row["kind"],
        number=row["try"],
        outcome=outcome.name,
        error=outcome.error,
        settled=settled,
        provider_id=outcome.provider_id,
    )


handler = notify
