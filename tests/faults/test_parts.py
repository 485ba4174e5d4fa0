"""The parts of the simulation that decide what is played, each alone: draws, plans, the shrinking, the matrix."""

from collections.abc import Sequence

import pytest
from rich.console import Console

from local.faults import sql_times
from local.faults.catalogue import FAMILIES, MONEY_MOVES, SELDOM, SLOW_COMMIT_RATES, kinds_of
from local.faults.coverage import Coverage
from local.faults.draws import Draws
from local.faults.schedule import ACTS, plan
from local.faults.shrink import minimised
from local.faults.sql_times import FunctionTime
from local.faults.wires import operation_of


def test_a_decision_depends_on_its_seed_and_its_name_alone() -> None:
    one, again, other = Draws(7), Draws(7), Draws(8)
    one.unit("something else", 1)

    assert one.unit("a", 1) == again.unit("a", 1)
    assert one.unit("a", 1) != one.unit("a", 2)
    assert one.unit("a", 1) != other.unit("a", 1)


def test_draws_are_spread_evenly() -> None:
    draws = Draws(1)
    units = [draws.unit(number) for number in range(2000)]

    assert all(0 <= unit < 1 for unit in units)
    assert [sum(low / 4 <= unit < (low + 1) / 4 for unit in units) for low in range(4)] == pytest.approx(
        [500] * 4, abs=70
    )
    assert {draws.between(1, 3, number) for number in range(100)} == {1, 2, 3}


def test_weights_are_kept() -> None:
    draws = Draws(2)
    picked = [draws.weighted((("often", 3.0), ("seldom", 1.0), ("never", 0.0)), number) for number in range(1000)]

    assert picked.count("often") == pytest.approx(750, abs=60)
    assert "never" not in picked


def test_a_seed_plans_the_same_schedule_again_and_others_plan_others() -> None:
    assert plan(5) == plan(5)
    assert len({plan(seed).steps for seed in range(50)}) == 50


def test_every_act_is_planned_sooner_or_later() -> None:
    planned = {(step.actor, step.act) for seed in range(400) for step in plan(seed).steps}

    assert {act for act, _ in ACTS} <= planned


@pytest.mark.parametrize("guilty", [{3}, {0, 17}, {1, 2, 18}])
def test_shrinking_leaves_the_guilty(guilty: set[int]) -> None:
    tried = []

    def fails(items: Sequence[int]) -> bool:
        tried.append(items)
        return guilty <= set(items)

    assert set(minimised(range(20), fails)) == guilty
    assert len(tried) < 100


def test_shrinking_what_fails_by_itself_leaves_nothing() -> None:
    assert minimised(range(9), lambda _: True) == []


def test_the_matrix_says_what_was_missed() -> None:
    coverage = Coverage()
    coverage.passed("time attempts", None)
    assert coverage.missed() == [("time attempts", "key_expired")]

    other = Coverage()
    other.passed("time attempts", "key_expired")
    coverage.add(other)

    assert coverage.missed() == []
    assert coverage.passages["time attempts"] == 2
    assert coverage.cells() == 1


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/payment_intents", "stripe POST payment_intents"),
        ("POST", "/v1/payment_intents/pi_3Ab/confirm", "stripe POST payment_intents/:id/confirm"),
        ("GET", "/v1/setup_intents/seti_1", "stripe? GET setup_intents/:id"),
        ("POST", "/v1/payment_methods/pm_1/detach", "stripe POST payment_methods/:id/detach"),
    ],
)
def test_stripe_calls_are_named_without_their_ids(method: str, path: str, name: str) -> None:
    assert operation_of(method, path) == name
    assert kinds_of(name)


def test_what_is_struck_more_often_is_a_boundary_with_faults() -> None:
    assert all(kinds_of(boundary) for boundary in (*MONEY_MOVES, *SELDOM, *SLOW_COMMIT_RATES))
    assert all(len(set(kinds)) == len(kinds) for kinds in FAMILIES.values())


def test_what_the_sql_functions_take_is_shown_the_dearest_first(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [FunctionTime(f"internal.number_{number}", 2.0, 90.0 - number, 99.0, 0.123) for number in range(45)]

    sql_times.show(Console(width=200), database_url, times, 7)

    head, _, *rows, rest = capsys.readouterr().out.splitlines()
    assert head.startswith("7 schedules on PostgreSQL 1")
    assert rows[0].split() == ["internal.number_0", "2.00", "90.00", "99.00", "0.123"]
    assert (len(rows), rest) == (40, "and 5 more")
