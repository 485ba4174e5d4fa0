"""Whole processes killed under load: the real local stack, real signals, a disk that is really full.

    report = run(seconds=60)    # load and disasters, then rest, then the checker and the load's own record

docs/reliability.md says what that shows and what it does not.
"""
