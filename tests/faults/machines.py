"""How long the state machines look: a little in every run, more when asked (HYPOTHESIS_EXAMPLES=2000 …)."""

import os

from hypothesis import HealthCheck, settings


def bounded(examples: int, steps: int) -> settings:
    """The same cases in every run; HYPOTHESIS_EXAMPLES takes the place of their number, and of the fixed seed."""
    asked = os.environ.get("HYPOTHESIS_EXAMPLES")
    return settings(
        max_examples=int(asked) if asked else examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=asked is None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
