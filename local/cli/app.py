"""The command: subcommands put together. Each says by `--help` what it does, with an example."""

import typer

from local.cli import doctor, endpoint, looking, people, running, watching

app = typer.Typer(
    name="autobook",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and those hold keys
    add_completion=False,
    help=(
        "Check, run and mend an Autobook environment.\n\n"
        "It works on the variables of --env-file, else on those of the shell, else on the running local stack. "
        "Nothing is changed unless you say so (--apply, --yes), and nothing live without --live.\n\n"
        "Exit status: 0 well, 1 findings, 2 wrong use, 3 could not tell."
    ),
)
app.command()(doctor.doctor)
app.command()(watching.status)
app.command()(looking.booking)
app.command("replay-event")(looking.replay_event)
app.add_typer(endpoint.endpoints, name="webhook-endpoint")
app.command()(running.reconcile)
app.add_typer(running.migrations, name="migrate")
app.command("function-tokens")(running.function_tokens)
app.command()(people.export)
app.command()(people.erase)
app.command("audit-verify")(people.audit_verify)
