"""Writes the pages of docs/ that are made from the code, or checks that they are up to date.

python -m local.docs declines            writes docs/declines.md
python -m local.docs declines --check    changes nothing; exit status 1 if the page is out of date
python -m local.docs sql-functions       writes docs/sql-functions.md, likewise
"""

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from functions.shared import decline_table, declines
from functions.shared.decline_error_codes import ERROR_CODES, OUR_BUG_CODES
from functions.shared.decline_table import ACTIONS, HOUR_SECONDS, NEUTRAL_SENTENCE, DeclineCategory, Rule
from local.sql_functions import sql_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCS: Final = Path(__file__).parent.parent / "docs"

_DECLINES_HEAD: Final = """# Declines

<!-- Made by `python -m local.docs declines` from functions/shared/declines.py and its tables. Edit those. -->

What happens when Stripe answers that a charge did not go through, and what the cardholder is told.
`classify()` in `functions/shared/declines.py` gives the answer; this page is that module's tables.

## What happens next

| category | what we do | the cardholder reads, as a rule |
|---|---|---|
"""

_WHAT_WE_DO: Final[dict[DeclineCategory, str]] = {
    DeclineCategory.RETRY_LATER: "The same card again while the offer lives, within the networks' limits.",
    DeclineCategory.OTHER_CARD: "The next backup card now.",
    DeclineCategory.USER_ACTION: "Wait for the cardholder to authenticate, until the deadline.",
    DeclineCategory.UPDATE_CARD: "The card waits until its owner has fixed it; other cards may be used.",
    DeclineCategory.NEVER: "Not this card again for this booking, and where the row says `blocks` for none.",
    DeclineCategory.STOP: "Charge nothing until Stripe has been asked what really happened (reconcile).",
    DeclineCategory.OUR_BUG: "Alert us. No card is at fault, so no other card is tried.",
}

_FLAGS_HEAD: Final = """
## The columns below

- **fraud**: no other card is charged by itself, and the cardholder reads the sentence of a
  `generic_decline`, as Stripe asks.
- **blocks**: the card is never charged again, for this booking or another.
- **no retry**: nobody forbade it, but the same card can't succeed until something changes, so "try again
  later" does not apply.
- **wait**: the shortest time before the same card may be tried again.

A code that is in none of the tables is `other_card` with the sentence of a `generic_decline`, and is counted.
"""

_OUR_MISTAKES: Final = """
## `code`: our own mistakes

Source: <https://docs.stripe.com/error-codes>

Everything else on that page is `our_bug`: Stripe is asked for card payments only, so each of these says that
our request or our account is wrong.

"""


def render_declines() -> str:
    """The text of docs/declines.md, ending with a newline."""
    parts = [_DECLINES_HEAD]
    parts += [f"| `{category}` | {_WHAT_WE_DO[category]} | {ACTIONS[category]} |\n" for category in DeclineCategory]
    parts += ["\n## Which field decides\n\n", _order(), _FLAGS_HEAD]
    for title, sources, rules in _sections():
        links = ", ".join(f"<https://{source}>" for source in sources)
        parts += [f"\n## {title}\n\nSource: {links}\n\n", _table(rules)]
    parts += [_OUR_MISTAKES, ", ".join(f"`{code}`" for code in sorted(OUR_BUG_CODES)), "\n"]
    return "".join(parts)


def _order() -> str:
    """The part of the module's docstring that tells the order: all but its first and last paragraph."""
    paragraphs = inspect.cleandoc(declines.__doc__ or "").split("\n\n")
    return "\n\n".join(paragraphs[1:-1]) + "\n"


def _sections() -> "Iterable[tuple[str, tuple[str, ...], Mapping[str, Rule]]]":
    stripe = "docs.stripe.com"
    yield (
        "Radar block: `outcome.reason` where `outcome.type` is `blocked`",
        (f"{stripe}/declines#blocked-payments",),
        {**decline_table.RADAR_REASONS, "(any other)": decline_table.RADAR_UNKNOWN},
    )
    yield "`advice_code`", (f"{stripe}/declines/card#retrying-issuer-declines",), decline_table.ADVICE_CODES
    yield (
        "`network_advice_code`: Mastercard's Merchant Advice Codes, and unless we know better",
        (
            "developer.paypal.com/braintree/docs/reference/general/merchant-responses/merchant-advice-codes",
            "docs.payabl.com/docs/mastercard-merchant-advice-codes",
        ),
        decline_table.MERCHANT_ADVICE_CODES,
    )
    yield (
        "`network_advice_code`: Visa's categories, where the network is known to be Visa",
        ("developers.tabapay.com/docs/visa-response-code-updates",),
        decline_table.VISA_CATEGORIES,
    )
    yield "`decline_code`: cards", (f"{stripe}/declines/codes",), decline_table.CARD_DECLINE_CODES
    yield (
        "`decline_code`: wallets and local payment methods",
        (f"{stripe}/declines/codes",),
        decline_table.OTHER_DECLINE_CODES,
    )
    yield "`code`", (f"{stripe}/error-codes",), ERROR_CODES


_SQL_HEAD: Final = """# SQL functions

<!-- Made by `python -m local.docs sql-functions` from sql/. Edit that. -->

Every function of the database, and the line at which its newest wording begins: a file that was applied stays as it
is, and a later one words a function anew. `public` is what the Lambdas, users and operators call
([policies/](../policies/) says who which); `internal` is called by those and by triggers alone.
"""


def render_sql_functions() -> str:
    """The text of docs/sql-functions.md, ending with a newline."""
    functions, parts = sql_functions(), [_SQL_HEAD]
    for schema in ("public", "internal"):
        parts.append(f"\n## {schema}\n\n| function | newest wording | what it does |\n|---|---|---|\n")
        for each in functions:
            if each.name.startswith(f"{schema}."):
                place = f"[{each.path.stem.partition('_')[0]}, line {each.line}](../{each.path}#L{each.line})"
                parts.append(f"| `{each.name}` | {place} | {' '.join(each.comment.split())} |\n")
    return "".join(parts)


def _table(rules: "Mapping[str, Rule]") -> str:
    lines = ["| code | category | flags | the cardholder reads |", "|---|---|---|---|"]
    for code, rule in rules.items():
        lines.append(f"| `{code}` | `{rule.category}` | {_flags(rule)} | {_sentence(rule)} |")
    return "\n".join(lines) + "\n"


def _flags(rule: Rule) -> str:
    named = (("fraud", rule.fraud), ("blocks", rule.blocks_card), ("no retry", rule.no_retry))
    flags = [name for name, is_set in named if is_set]
    if rule.wait_seconds is not None:
        hours = rule.wait_seconds // HOUR_SECONDS
        flags.append(f"wait {hours} h" if hours <= 24 else f"wait {hours // 24} days")
    return ", ".join(flags)


def _sentence(rule: Rule) -> str:
    return NEUTRAL_SENTENCE if rule.fraud else f"{rule.reason} {rule.action or ACTIONS[rule.category]}"


PAGES: Final[dict[str, "Callable[[], str]"]] = {"declines": render_declines, "sql-functions": render_sql_functions}


def main(arguments: list[str] | None = None, *, docs: Path = DOCS) -> int:
    """Write or check one page of `docs`. Returns 1 if `--check` finds it out of date, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m local.docs", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("page", choices=sorted(PAGES))
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the page is out of date")
    options = parser.parse_args(arguments)
    path = docs / f"{options.page}.md"
    text = PAGES[options.page]()
    if not options.check:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} is out of date: run `python -m local.docs {options.page}`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
