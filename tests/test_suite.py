"""What the suite takes for granted of its own tools."""

import pytest

GROUP = "one-worker"


@pytest.mark.xdist_group(GROUP)
def test_what_belongs_to_one_group_is_kept_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist writes the group behind a test's name, and forgot to when pytest moved the name elsewhere (9.2)."""
    is_grouped = request.node.nodeid.endswith(f"@{GROUP}")

    assert is_grouped is bool(getattr(request.config.option, "loadgroup", False))
