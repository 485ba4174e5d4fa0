"""`autobook booking` and `autobook replay-event`: one thing, looked at closely."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from local.cli.common import (
    AsJson,
    EnvFile,
    Live,
    Status,
    allow_changes,
    console,
    database_url,
    enter,
    honest,
    print_json,
    say,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN_ALWAYS = ("status", "amount_minor", "currency", "stripe_payment_intent_id")


def booking(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The booking's id, or its PaymentIntent's (pi_…).")],
    offline: Annotated[bool, typer.Option("--offline", help="Ask the database alone, not Stripe.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Show all that is known of one booking: rows, attempts, Stripe's payment, events, audit, and what happens next.

    Changes nothing. Exit status 1: our rows and Stripe do not say the same. 3: Stripe could not be asked.

    For example:

    - `autobook booking 0b9e5d1c-…`
    - `autobook booking pi_3Q… --json`
    """
    target = enter(env_file)
    with honest():
        from functions.shared.settings import StripeSettings, read
        from local import booking_report
        from local.doctor.patient import stripe_client

        try:
            report = booking_report.read(database_url(target), wanted)
        except booking_report.NoSuchBooking as reason:
            stop(Status.FINDINGS, str(reason))
        if not offline:
            with stripe_client(read(StripeSettings)) as client:
                report["stripe"] = booking_report.ask_stripe(client, report["booking"])
            report["differences"] = booking_report.differences(report, report["stripe"])
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report.get("differences"):
        raise typer.Exit(Status.FINDINGS)


def _show(report: dict[str, Any]) -> None:
    screen = console()
    row = report["booking"]
    screen.print(f"[bold]Booking {row['id']}[/]: {row['status']}, {row['amount_minor']} {row['currency']} (minor unit)")
    screen.print(f"Next: {report['next']['says']}.")
    for difference in report.get("differences", []):
        screen.print(f"[bold red]Differs:[/] {difference}. `autobook reconcile --apply` settles what it can.")
    for name in ("booking", "stripe", "campaign", "offer", "match"):
        if name in report:
            _facts(name, report[name] or {name: "none"})
    for name in ("attempts", "refunds", "disputes", "ledger", "events", "notifications", "incidents", "audit"):
        _rows(name, report[name])


def _facts(name: str, facts: dict[str, Any]) -> None:
    table = Table(title=name, title_justify="left", show_header=False, box=None)
    for key, value in facts.items():
        if key in _SHOWN_ALWAYS or value not in (None, False, 0, []):
            table.add_row(key, str(value))
    console().print(table)


def _rows(name: str, rows: "Iterable[dict[str, Any]]") -> None:
    listed = list(rows)
    if not listed:
        return
    columns = [key for key in listed[0] if any(row[key] not in (None, False, []) for row in listed)]
    table = Table(*columns, title=name, title_justify="left")
    for row in listed:
        table.add_row(*("" if row[key] is None else str(row[key]) for key in columns))
    console().print(table)


def replay_event(
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="The event's id at Stripe, evt_…; 30 days back.")],
    apply: Annotated[bool, typer.Option("--apply", help="Do it, instead of only saying what would be done.")] = False,
    live: Live = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Fetch an event from Stripe and give it to the same inbox as the webhook's; doing it twice is doing it once.

    Exit status 1: it was not applied (it failed, or is flagged). What the webhook missed, reconcile fetches by itself.

    For example:

    - `autobook replay-event evt_1Q…`
    - `autobook replay-event evt_1Q… --apply`
    """
    if not event_id.startswith("evt_"):
        stop(Status.USAGE, "An event's id begins with evt_.")
    target = enter(env_file)
    if apply:
        allow_changes(target, live=live)
    with honest():
        from functions.shared.settings import StripeSettings, read
        from local import replay
        from local.doctor.patient import stripe_client

        with stripe_client(read(StripeSettings)) as client:
            event = replay.fetch(client, event_id)
        seen: dict[str, Any] = replay.look(event)
        if apply:
            seen |= replay.apply(event)
    if as_json:
        print_json(seen)
    else:
        _facts("event", seen)
        if not apply:
            say("Nothing was changed: --apply does it.")
    if seen.get("status") in ("failed", "flagged"):
        raise typer.Exit(Status.FINDINGS)
