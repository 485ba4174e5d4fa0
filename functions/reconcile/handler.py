"""reconcile: every five minutes, and by hand. Finds what was left open and does it; nothing is lost for long.

A plain handler for EventBridge Scheduler, no HTTP. The event may say `{"apply": false}` to look only.
"""

import logging
from typing import Any
from uuid import uuid4

from functions.reconcile.jobs import JOBS, Line, Run
from functions.shared import database, logs, metrics
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.stripe_gateway import gateway


def reconcile(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run every job; gives per job the lines of what was found, or the problem that stopped it."""
    logs.set_up()
    request_id = str(getattr(context, "aws_request_id", None) or uuid4().hex)
    apply = event.get("apply", True) is True
    with logs.bound(request_id=request_id), metrics.invocation("reconcile"):
        run = Run(database.as_function("reconcile", request_id), gateway(), Deadline.of_lambda(context), apply)
        return {"apply": run.apply, "jobs": {name: _done(name, run) for name in JOBS}}


def _done(name: str, run: Run) -> list[Line]:
    """One job must not stop the others: what it could not do it finds again next time."""
    if not run.has_time():
        logs.log(logging.WARNING, "no time left for a job", job=name)
        metrics.add("ReconcileJobsStopped")
        return [{"what": "no_time_left"}]
    try:
        lines = JOBS[name](run)
    except Problem as problem:
        logs.log(logging.ERROR, "a job was stopped", job=name, code=problem.code)
        metrics.add("ReconcileJobsStopped")
        return [{"what": "stopped", "code": problem.code}]
    except Exception as error:  # noqa: BLE001 - as above; the log says where
        logs.logger.exception("a job failed")
        metrics.add("ReconcileJobsStopped")
        return [{"what": "failed", "error": type(error).__name__}]
    for line in lines:
        level = logging.ERROR if line["what"].startswith("BREACH") else logging.INFO
        logs.log(level, "reconcile", job=name, **line)
    return lines


handler = reconcile
