"""`autobook export`, `erase`, `audit-verify`: a person's rights, and proof of the audit log."""

from typing import Annotated, Any
from uuid import UUID

import typer

from local.cli.common import AsJson, EnvFile, Live, Status, allow_changes, enter, honest, print_json, say, stop

User = Annotated[UUID, typer.Argument(metavar="USER", help="The user's id: `auth.users.id`, a UUID.")]


def export(user: User, env_file: EnvFile = None) -> None:
    """Print all that is held of a person, as JSON (GDPR articles 15 and 20).

    For example:

    - `autobook export 6f1f3b52-… > copy.json`
    """
    enter(env_file)
    with honest():
        from local import people

        print_json(people.export(user))


def erase(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Really do it: nothing brings it back.")] = False,
    live: Live = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Clear what identifies a person and delete their Stripe Customer; the accounts stay (GDPR article 17).

    Refused while a payment of theirs is under way. The row in auth.users is the project's own to delete.

    For example:

    - `autobook erase 6f1f3b52-… --yes`
    """
    target = enter(env_file)
    if not yes:
        stop(Status.USAGE, f"This clears {user} for good. Say --yes to do it.")
    allow_changes(target, live=live)
    with honest():
        from local import people

        had_customer = people.erase(user)
    if as_json:
        print_json({"user_id": user, "erased": True, "stripe_customer_deleted": had_customer})
    say("Erased, at Stripe too." if had_customer else "Erased; they had no Customer at Stripe.")
    say("The accounts stay. The row in auth.users is the project's own to delete or clear.")


def audit_verify(
    expect: Annotated[
        str | None, typer.Option(metavar="ID:HASH", help="A head that an earlier run printed and that you kept.")
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Check the audit log against itself, the rows and an earlier head. Reads everything: not for every five minutes.

    Prints the log's head: kept elsewhere and given back by --expect, it shows whether anybody wrote the past anew.
    Exit status 1: somebody changed a row or the log past the triggers.

    For example:

    - `autobook audit-verify`
    - `autobook audit-verify --expect 4711:9f86d081…`
    """
    enter(env_file)
    with honest():
        from local import people

        # First the head, so that it covers nothing that the checks after it have not seen.
        head = people.audit_head()
        breaches = people.audit_breaches()
        try:
            is_kept = people.audit_head_is_kept(expect) if expect else None
        except ValueError:
            stop(Status.USAGE, "--expect takes a head as it is printed: ID:HASH.")
    if as_json:
        print_json({"breaches": breaches, "head": head, "expected_head_is_kept": is_kept})
    else:
        _show_audit(breaches, head, is_kept, expect)
    if breaches or is_kept is False:
        raise typer.Exit(Status.FINDINGS)


def _show_audit(breaches: list[dict[str, Any]], head: str, is_kept: bool | None, expect: str | None) -> None:
    for breach in breaches:
        typer.echo(f"{breach['table_name']} {breach['row_id']}: {breach['breach'].replace('_', ' ')}")
    typer.echo(f"{len(breaches)} breaches in the audit log.")
    typer.echo(f"Head {head}")
    if is_kept:
        typer.echo("Everything that the expected head covers is as it was.")
    elif expect:
        until = expect.partition(":")[0]
        typer.echo(f"The log up to entry {until} is not what it was when the expected head was printed.")
