"""`make user-export`, `make user-erase`, `make audit-verify`: a person's rights, and proof of the audit log.

Each works on the environment's project, or else on the local stack that is running.
"""

import argparse
import json
import sys
from typing import Any
from uuid import UUID, uuid4

from local import environment


def main() -> int:
    """Run one command; 0 when it did what it says."""
    parser = argparse.ArgumentParser(prog="python -m local.people", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("audit-verify", help="check the audit log against itself and against the rows")
    export = commands.add_parser("user-export", help="print all that is held of a person, as JSON")
    erase = commands.add_parser("user-erase", help="clear what identifies a person, and delete their Stripe Customer")
    for command in (export, erase):
        command.add_argument("user", type=UUID)
    erase.add_argument("--yes", action="store_true", help="really do it: nothing brings it back")
    arguments = parser.parse_args()
    environment.choose()

    from functions.shared.problems import Problem  # reads its settings from the environment chosen above

    try:
        if arguments.command == "audit-verify":
            return _audit_verify()
        if arguments.command == "user-export":
            return _show(_call("export_user", p_user_id=str(arguments.user)))
        return _erase(arguments.user, really=arguments.yes)
    except Problem as problem:
        sys.stderr.write(f"{problem.code}: {problem.detail}\n")
        return 1


def _call(function: str, **values: Any) -> Any:
    from functions.shared import database

    return database.as_operator(uuid4().hex).call(function, **values)


def _show(document: Any) -> int:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0


def _audit_verify() -> int:
    breaches = _call("audit_breaches")
    for breach in breaches:
        sys.stdout.write(f"{breach['table_name']} {breach['row_id']}: {breach['breach'].replace('_', ' ')}\n")
    sys.stdout.write(f"{len(breaches)} breaches in the audit log.\n")
    return int(bool(breaches))


def _erase(user: UUID, *, really: bool) -> int:
    if not really:
        sys.stderr.write(f"This clears {user} for good. Say --yes (make user-erase PERSON={user} YES=1) to do it.\n")
        return 1
    erased = _call("erase_user", p_user_id=str(user))
    if erased["stripe_customer_id"]:
        from functions.shared.stripe_gateway import gateway

        gateway().delete_customer(erased["stripe_customer_id"])
    sys.stdout.write("Erased. The accounts stay; the row in auth.users is the project's own to delete or clear.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
