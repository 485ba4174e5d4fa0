"""The part of docs/notifications.md that is made from the templates, and all messages to look at.

python -m tests.functions.notify.page                  writes it
python -m tests.functions.notify.page --html FOLDER    writes every message as a page to open in a browser
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from functions.notify import templates
from functions.notify.notice import Notice
from tests.functions.notify.samples import APP_URL, sample

PAGE: Final = Path(__file__).parents[3] / "docs" / "notifications.md"
BEGIN: Final = "<!-- Made by `python -m tests.functions.notify.page` from functions/notify/templates. Edit those. -->\n"


def letter(kind: str) -> templates.Letter:
    """The sample message of a kind."""
    return templates.write(Notice.model_validate(sample(kind)), APP_URL)


def render() -> str:
    """Every kind with its subject, words and link."""
    parts = [BEGIN]
    for kind in sorted(templates.kinds()):
        written = letter(kind)
        words, link, rest = written.text.partition(APP_URL)
        quoted = (words + link + rest.partition("\n")[0]).strip().replace("\n", "\n> ").replace("> \n", ">\n")
        parts.append(f"\n### `{kind}`\n\n**{written.subject}**\n\n> {quoted}\n")
    return "".join(parts)


def page_with(current: str) -> str:
    """The page with the made part brought up to date: all after its marker."""
    head, marker, _ = current.partition(BEGIN)
    if not marker:
        raise SystemExit(f"{PAGE} lacks the line that begins the made part")
    return head + render()


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or the messages. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.functions.notify.page")
    parser.add_argument("--html", type=Path, metavar="FOLDER")
    folder: Path | None = parser.parse_args(arguments).html
    if folder is None:
        PAGE.write_text(page_with(PAGE.read_text("utf-8")), "utf-8")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    for kind in templates.kinds():
        (folder / f"{kind}.html").write_text(letter(kind).html, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
