"""The `autobook` command: what an engineer types to check, run and mend an environment (docs/cli.md)."""
