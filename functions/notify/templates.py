"""The words of each kind of message, as text and as HTML.

`templates/kinds/<kind>.txt` holds a kind's words once: its subject, its link, its paragraphs. They become plain text
first, and both forms of the message are laid out from that, so that they can't say different things and there is one
place where HTML is escaped: Jinja's, in `letter.html`. Jinja and not `string.Template`, because the words have
conditions; it costs 0.6 MB and some 50 ms at a start that nobody waits for.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, select_autoescape

from functions.notify.notice import Notice

_FOLDER: Final = Path(__file__).parent / "templates"
_FOOTER: Final = (
    "This message is about your own campaigns, bookings and cards. "
    "We never ask for a card number or a password by e-mail."
)


class UnknownKindError(LookupError):
    """SQL owes a kind of message for which there are no words."""


@dataclass(frozen=True)
class Letter:
    """A message ready to be sent. It speaks of a person's money: no repr of it reaches a log."""

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # what is deployed does not change
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment


@cache
def kinds() -> frozenset[str]:
    """Every kind that there are words for."""
    return frozenset(path.stem for path in (_FOLDER / "kinds").glob("*.txt"))


def write(notice: Notice, app_url: str) -> Letter:
    """The message of a notification; `app_url` is where its links lead.

    Raises UnknownKindError, and jinja2.TemplateError for words that are wrong.
    """
    try:
        template = _environment().get_template(f"kinds/{notice.kind}.txt")
    except TemplateNotFound:
        raise UnknownKindError(notice.kind) from None
    said: Any = template.make_module(notice.words(app_url))  # what a template sets at its top is the module's to read
    link_text, link_url = said.link
    frame = {
        "subject": said.subject,
        "paragraphs": [" ".join(part.split("\n")) for part in str(said).strip().split("\n\n") if part.strip()],
        "link_text": link_text,
        "link_url": link_url,
        "facts": notice.facts(),
        "footer": _FOOTER,
    }
    layout = _environment().get_template
    return Letter(said.subject, layout("letter.txt").render(frame), layout("letter.html").render(frame))
