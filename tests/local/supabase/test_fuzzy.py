"""The names that PostgREST's hints propose; the examples are those of its own source (`src/PostgREST/Error.hs`)."""

import pytest

from local.supabase.fuzzy import closest


@pytest.mark.parametrize(
    ("name", "candidates", "proposed"),
    [
        ("testt", ["test", "another"], "test"),
        ("other", ["test", "another"], "another"),
        ("noclosealternative", ["test", "another"], None),
        ("(name, pqaram, vall)", ["(name, param, val)", "(attr, id)"], "(name, param, val)"),
        ("(param, val)", ["(name, param, val)", "(attr, id)"], "(name, param, val)"),
        ("(id)", ["(name, param, val)", "(attr, id)"], "(attr, id)"),
        ("film", ["films"], "films"),
        ("anything", [], None),
    ],
)
def test_the_closest_name(name: str, candidates: list[str], proposed: str | None) -> None:
    assert closest(name, candidates) == proposed


def test_an_equal_name_counts_only_where_it_may() -> None:
    assert closest("actors", ["actors"]) == "actors"
    assert closest("actors", ["actors"], exact=False) is None
