"""One run of reconcile in a process of its own, as Lambda starts one: its report is the last line of the output."""

import json
import sys

from local import reconcile


def main() -> None:
    """Apply what is due; what the function itself prints (numbers for CloudWatch, logs) comes before the report."""
    report = reconcile.run(apply=True)
    sys.stdout.write(f"\n{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
