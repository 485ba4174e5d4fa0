"""docs/notifications.md: its made part is up to date, and the part by hand names every kind."""

from pathlib import Path

from functions.notify import templates
from tests.functions.notify import page


def test_the_committed_page_is_up_to_date() -> None:
    current = page.PAGE.read_text("utf-8")
    assert page.page_with(current) == current, "run `python -m tests.functions.notify.page`"


def test_the_page_says_when_each_kind_is_sent() -> None:
    by_hand = page.PAGE.read_text("utf-8").partition(page.BEGIN)[0]
    assert [kind for kind in sorted(templates.kinds()) if f"\n| `{kind}` | " not in by_hand] == []


def test_every_message_can_be_looked_at(tmp_path: Path) -> None:
    assert page.main(["--html", str(tmp_path / "messages")]) == 0
    assert {file.stem for file in (tmp_path / "messages").iterdir()} == templates.kinds()
