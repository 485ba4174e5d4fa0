"""The pages that are made from the code."""

from pathlib import Path

import psycopg
import pytest

from functions.shared.declines import DeclineCategory
from local import docs
from local.migrate import ROOT
from local.sql_functions import sql_functions


@pytest.mark.parametrize("page", sorted(docs.PAGES))
def test_the_committed_page_is_up_to_date(page: str) -> None:
    assert docs.main([page, "--check"]) == 0, f"run `python -m local.docs {page}`"


def test_check_tells_a_missing_and_a_changed_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["declines", "--check"], docs=tmp_path) == 1
    assert docs.main(["declines"], docs=tmp_path) == 0
    assert docs.main(["declines", "--check"], docs=tmp_path) == 0
    page = tmp_path / "declines.md"
    page.write_text(page.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    assert docs.main(["declines", "--check"], docs=tmp_path) == 1
    assert capsys.readouterr().err.count("python -m local.docs declines") == 2


def test_the_page_tells_every_category_and_every_table() -> None:
    page = docs.render_declines()
    for category in DeclineCategory:
        assert f"| `{category}` |" in page
    for code in ("highest_risk_level", "confirm_card_data", "26", "lost_card", "payment_disputed", "card_declined"):
        assert f"\n| `{code}` |" in page
    assert "`amount_too_small`" in page


def test_a_row_is_one_line_of_four_cells() -> None:
    rows = [line for line in docs.render_declines().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert {line.count("|") for line in rows} <= {4, 5}


def test_every_function_of_the_database_is_listed_with_what_it_says_of_itself(db: psycopg.Connection) -> None:
    rows = db.execute(
        "select format('%s.%s', n.nspname, p.proname), coalesce(obj_description(p.oid, 'pg_proc'), '') "
        "from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace where n.nspname in ('public', 'internal')"
    ).fetchall()

    assert len(rows) > 100
    assert sorted((each.name, each.comment) for each in sql_functions()) == sorted(rows)


def test_the_newest_wording_is_the_one_that_the_database_has(db: psycopg.Connection) -> None:
    bodies = db.execute(
        "select format('%s.%s', n.nspname, p.proname), p.prosrc "
        "from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace where n.nspname in ('public', 'internal')"
    ).fetchall()
    places = {each.name: each for each in sql_functions()}
    for name, body in bodies:
        lines = (ROOT / places[name].path).read_text("utf-8").splitlines()
        begun = "\n".join(lines[places[name].line - 1 :])
        assert begun.partition("$$")[2].partition("$$")[0] == body, name
