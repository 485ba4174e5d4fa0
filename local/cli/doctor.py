"""`autobook doctor`."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from local.cli.common import AsJson, EnvFile, Status, console, enter, print_json
from local.doctor.finding import Finding
from local.doctor.finding import Status as Verdict

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "magenta"}


def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Show what is well, too.")] = False,
    webhook_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The deployed webhook, if not AUTOBOOK_API_URL/webhook.")
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Look an environment over, and say of each finding what to do about it. Changes nothing anywhere.

    Looks at keys and their mode, Stripe, its webhook endpoint, Supabase, tokens, migrations and policies, the queue,
    mail, clocks, and whether reconcile runs. Exit status 0: nothing failed. 1: something did. 3: nothing failed, but
    something could not be looked at.

    For example:

    - `autobook doctor`
    - `autobook doctor --env-file staging.env --all`
    """
    target = enter(env_file, "SUPABASE_URL", "STRIPE_SECRET_KEY")
    from local.doctor.examine import examine, verdict

    findings = examine(target.values, webhook_url)
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        _show(findings, everything=everything)
    status = {Verdict.FAIL: Status.FINDINGS, Verdict.UNKNOWN: Status.UNKNOWN}.get(verdict(findings), Status.OK)
    if status is not Status.OK:
        raise typer.Exit(status)


def _show(findings: list[Finding], *, everything: bool) -> None:
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        if finding.status is Verdict.OK and not everything:
            continue
        said = Text(finding.found)
        if finding.remedy:
            said.append(f"\n→ {finding.remedy}", style="cyan")
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.check, said)
    console().print(table)
    counts = {status: sum(finding.status is status for finding in findings) for status in Verdict}
    console().print(", ".join(f"{count} {status}" for status, count in counts.items()))
