"""Proof under faults: what is simulated, what is killed, and who checks the books afterwards (docs/reliability.md)."""
