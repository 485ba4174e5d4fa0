"""`autobook reconcile`, `migrate`, `function-tokens`: what is run by hand."""

from typing import Annotated

import typer

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

migrations = typer.Typer(no_args_is_help=True, help="Apply sql/ and policies/ to DATABASE_URL, or say what is missing.")


def reconcile(
    apply: Annotated[bool, typer.Option("--apply", help="Do what is to be done, instead of only saying it.")] = False,
    live: Live = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Look for what was left open (unknown outcomes, lost matches, due retries, missed events), or do it.

    Exit status 1: an invariant is broken. 3: a job could not run to its end.

    For example:

    - `autobook reconcile`
    - `autobook reconcile --apply`
    """
    target = enter(env_file)
    if apply:
        allow_changes(target, live=live)
    with honest():
        from local import reconcile as by_hand

        report = by_hand.run(apply=apply)
    if as_json:
        print_json(report)
    else:
        console().print(by_hand.table(report))
        if not apply:
            say("Nothing was changed. `autobook reconcile --apply` does it.")
    if by_hand.is_broken(report):
        raise typer.Exit(Status.FINDINGS)
    if by_hand.is_incomplete(report):
        raise typer.Exit(Status.UNKNOWN)


@migrations.command("up")
def migrate_up(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name what would be applied, no more.")] = False,
    live: Live = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Apply every file that the database lacks, each in a transaction, in the order of their numbers.

    DATABASE_URL is the direct connection or the session pooler (port 5432), never the transaction pooler (6543).
    """
    target = enter(env_file, "DATABASE_URL")
    if not dry_run:
        allow_changes(target, live=live, unknown_is_live=False)  # whoever names a database alone means that database
    with honest():
        from local.migrate import migrate, pending

        url = database_url(target)
        applied = pending(url) if dry_run else migrate(url)
    if as_json:
        print_json({"dry_run": dry_run, "applied": applied})
        return
    for name in applied:
        typer.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not applied:
        typer.echo("The database is up to date.")


@migrations.command("status")
def migrate_status(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Say which files the database has, lacks, or has in another wording. Exit status 1 unless it has all of them."""
    target = enter(env_file, "DATABASE_URL")
    with honest():
        from local.migrate import State, status

        states = status(database_url(target))
    if as_json:
        print_json(states)
    else:
        typer.echo("\n".join(f"{state}: {name}" for name, state in states.items()))
    if any(state is not State.APPLIED for state in states.values()):
        raise typer.Exit(Status.FINDINGS)


def function_tokens(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Mint a token for each Lambda's database role: prints secrets, one NAME=value a line, for a secret store.

    Signed with SUPABASE_JWT_SECRET, or with the ES256 key in the file that SUPABASE_SIGNING_KEY names.

    For example:

    - `(umask 077; autobook function-tokens > tokens.env)`
    """
    target = enter(env_file)
    from local.function_tokens import from_keys

    url = target.values.get("SUPABASE_URL", "").rstrip("/")
    try:
        tokens = from_keys(url) if url else None
    except ValueError as error:
        stop(Status.USAGE, str(error))
    if tokens is None:
        stop(
            Status.USAGE,
            "Set SUPABASE_URL, and SUPABASE_JWT_SECRET or SUPABASE_SIGNING_KEY (a file with an ES256 JWK).",
        )
    if as_json:
        print_json(tokens)
        return
    for name, value in tokens.items():
        typer.echo(f"{name}={value}")
