"""Amounts as people read them.

babel brings the locales' data with it (tens of megabytes on disk), so only the function that writes
notifications imports this module.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final
from unicodedata import category

from babel import Locale, UnknownLocaleError
from babel.numbers import get_currency_precision, get_currency_symbol, parse_pattern

_EXPONENTS: Final = frozenset({0, 2, 3})


def format_amount(amount_minor: int, exponent: int, currency: str, locale: str = "en") -> str:
    """An amount in the words of a locale: `format_amount(1050, 2, "eur", "de-DE")` is "10,50 €".

    `exponent` is the currency's in `public.currencies`: the digits of Stripe's minor unit, which CLDR does
    not always share (500 in isk is 5 krónur). The amount is never rounded: digits that people don't write
    with the currency are left out only where they are zeros. `locale` is a BCP 47 tag or a CLDR name; one
    that babel doesn't know is read as English, because a message in English is better than none.

    Raises TypeError if `amount_minor` is not an int, ValueError if `exponent` is not 0, 2 or 3.
    """
    if type(amount_minor) is not int:  # a bool is an int, and a float has lost the amount already
        raise TypeError(f"amount_minor must be an int, not {type(amount_minor).__name__}")
    if exponent not in _EXPONENTS:
        raise ValueError(f"a currency's exponent is 0, 2 or 3, not {exponent}")
    code = currency.upper()
    usual_digits = min(get_currency_precision(code), exponent)
    digits = usual_digits if amount_minor % 10 ** (exponent - usual_digits) == 0 else exponent
    where = _locale(locale)
    pattern = parse_pattern(where.currency_formats["standard"].pattern)
    pattern.frac_prec = (digits, digits)
    amount = Decimal(f"{amount_minor}e-{exponent}")
    text = str(pattern.apply(amount, where, currency=code, currency_digits=False))
    return _apart(text, get_currency_symbol(code, where))


def _apart(text: str, symbol: str) -> str:
    """Put a no-break space between digits and a "symbol" of letters: ISK 5, but $5.

    CLDR asks for it (UTS #35, part 3, "Currency Spacing"), babel does not do it.
    """
    if category(symbol[-1])[0] not in "SZ":
        text = re.sub(f"({re.escape(symbol)})(?=\\d)", "\\1\N{NO-BREAK SPACE}", text)
    if category(symbol[0])[0] not in "SZ":
        text = re.sub(f"(?<=\\d)({re.escape(symbol)})", "\N{NO-BREAK SPACE}\\1", text)
    return text


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
