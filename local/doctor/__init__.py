"""What is wrong with an environment, and what to do about it (`autobook doctor`, docs/cli.md)."""
