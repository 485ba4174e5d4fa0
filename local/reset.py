"""Ends what a crashed stack left behind and forgets its state: `make reset-local`."""

import fcntl
import shutil
import sys

from local import orphans
from local.stack import ROOT


def main() -> int:
    """Clean up, unless a stack is running in this checkout. Returns the exit status."""
    directory = ROOT / ".local"
    directory.mkdir(exist_ok=True)
    with (directory / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("A stack is running in this checkout: stop it first (Ctrl-C where it runs).", file=sys.stderr)
            return 1
        for pid in orphans.sweep():
            print(f"Ended an abandoned Postgres, process {pid}.")
        (directory / "stack.json").unlink(missing_ok=True)
        for name in ("stack", "stacks", "run"):
            shutil.rmtree(directory / name, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
