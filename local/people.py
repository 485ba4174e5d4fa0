"""`make user-export`, `make user-erase`, `make audit-verify`: a person's rights, and proof of the audit log.

Each works on the environment's project, or else on the local stack that is running.
"""

import argparse
import json
import re
import sys
from typing import Any
from uuid import UUID, uuid4

from local import environment


def main() -> int:
    """Run one command; 0 when it did what it says."""
    parser = argparse.ArgumentParser(prog="python -m local.people", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("audit-verify", help="check the audit log against itself and against the rows")
    verify.add_argument("--expect", type=_head, metavar="ID:HASH", help="a head that an earlier run printed")
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
            return _audit_verify(arguments.expect)
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


def _head(text: str) -> tuple[int, str]:
    """A head as it is printed: the id of its last entry and the hash over all up to there. Raises ValueError."""
    until, _, digest = text.partition(":")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(text)
    return int(until), digest


def _audit_verify(expected: tuple[int, str] | None) -> int:
    # First the head, so that it covers nothing that the checks after it have not seen.
    until = _call("audit_settled_until")
    head = _call("audit_head", p_until=until)
    breaches = _call("audit_breaches")
    for breach in breaches:
        sys.stdout.write(f"{breach['table_name']} {breach['row_id']}: {breach['breach'].replace('_', ' ')}\n")
    sys.stdout.write(f"{len(breaches)} breaches in the audit log.\n")
    sys.stdout.write(f"Head {until}:{head}\n")
    if expected is None:
        return int(bool(breaches))
    kept = _call("audit_head", p_until=expected[0]) == expected[1]
    sys.stdout.write(
        "Everything that the expected head covers is as it was.\n"
        if kept
        else f"The log up to entry {expected[0]} is not what it was when the expected head was printed.\n"
    )
    return int(bool(breaches) or not kept)


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
