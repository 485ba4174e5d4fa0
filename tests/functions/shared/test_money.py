"""Amounts as fields of a request, and as people read them."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.shared.amounts import MAXIMUM_AMOUNT_MINOR, AmountMinor, CurrencyCode
from functions.shared.money import format_amount


class Price(BaseModel):
    """A body with money in it."""

    amount_minor: AmountMinor
    currency: CurrencyCode


AMOUNT: TypeAdapter[int] = TypeAdapter(AmountMinor)
CURRENCY: TypeAdapter[str] = TypeAdapter(CurrencyCode)
NBSP = "\N{NO-BREAK SPACE}"

# --- fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 50, MAXIMUM_AMOUNT_MINOR])
def test_an_amount_is_a_positive_integer_of_up_to_eight_digits(amount: int) -> None:
    assert AMOUNT.validate_python(amount) == amount
    assert AMOUNT.validate_json(str(amount)) == amount


@pytest.mark.parametrize(
    "value",
    [True, False, 1.0, 1.5, "1", "", None, 0, -1, MAXIMUM_AMOUNT_MINOR + 1, 10**30, Decimal(1), float("nan"), [1]],
    ids=repr,
)
def test_anything_else_is_no_amount(value: Any) -> None:
    with pytest.raises(ValidationError):
        AMOUNT.validate_python(value)


@pytest.mark.parametrize(
    "text", ["true", "1.0", '"1"', "1e2", "0", "-5", "100000000", "1" + "0" * 400, "null", "NaN", "Infinity", "[1]"]
)
def test_anything_else_in_json_is_no_amount(text: str) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate_json(f'{{"amount_minor": {text}, "currency": "eur"}}')


@pytest.mark.parametrize("code", ["eur", "usd", "xof"])
def test_a_currency_is_three_lower_case_letters(code: str) -> None:
    assert CURRENCY.validate_json(json.dumps(code)) == code


@pytest.mark.parametrize(
    "value",
    ["EUR", "Eur", "eu", "euro", "eur\n", " eur", "e1r", "\N{CYRILLIC SMALL LETTER IE}ur", "", 978, None, b"eur"],
)
def test_anything_else_is_no_currency(value: Any) -> None:
    with pytest.raises(ValidationError):
        CURRENCY.validate_python(value)


# --- sentences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount_minor", "exponent", "currency", "locale", "text"),
    [
        (1050, 2, "usd", "en", "$10.50"),
        (1050, 2, "eur", "de-DE", f"10,50{NBSP}€"),
        (123456789, 2, "eur", "en", "€1,234,567.89"),
        (99999999, 2, "inr", "en_IN", "₹9,99,999.99"),
        (1050, 2, "chf", "de-CH", f"CHF{NBSP}10.50"),
        (5, 2, "sek", "sv", f"0,05{NBSP}kr"),
        (-250, 2, "gbp", "en-GB", "-£2.50"),
        (0, 2, "usd", "en", "$0.00"),
        # no minor unit
        (1000, 0, "jpy", "en", "¥1,000"),
        (5000, 0, "krw", "ko", "₩5,000"),
        # three digits
        (1500, 3, "bhd", "en", f"BHD{NBSP}1.500"),
        # two digits at Stripe, none in use: 500 is five crowns
        (500, 2, "isk", "en", f"ISK{NBSP}5"),
        (360000, 2, "ugx", "en", f"UGX{NBSP}3,600"),
        # Luganda writes the currency behind the number, without a space in the pattern
        (1050, 2, "chf", "lg", f"10.50{NBSP}CHF"),
        (1050, 2, "eur", "lg", "10.50€"),
        # digits that readers don't use are shown rather than rounded away
        (550, 2, "isk", "en", f"ISK{NBSP}5.50"),
        (700050, 2, "lbp", "en", f"LBP{NBSP}7,000.50"),
        # a locale that nobody knows, and hostile ones
        (1050, 2, "eur", "tlh-Klingon", "€10.50"),
        (1050, 2, "eur", "", "€10.50"),
        (1050, 2, "eur", "../../etc/passwd", "€10.50"),
    ],
)
def test_an_amount_in_words_of_a_locale(
    amount_minor: int, exponent: int, currency: str, locale: str, text: str
) -> None:
    assert format_amount(amount_minor, exponent, currency, locale) == text


def test_english_is_the_default() -> None:
    assert format_amount(1999, 2, "usd") == "$19.99"


@given(
    st.integers(min_value=0, max_value=9_223_372_036_854_775_807),  # all that a bigint holds
    st.sampled_from([(0, "jpy"), (2, "usd"), (2, "isk"), (2, "lbp"), (2, "xcg"), (3, "kwd")]),
)
def test_the_number_is_exact(amount_minor: int, currency: tuple[int, str]) -> None:
    exponent, code = currency
    text = format_amount(amount_minor, exponent, code, "en")
    digits = re.search(r"\d[\d,]*(\.\d+)?", text)
    assert digits
    assert Decimal(digits.group().replace(",", "")) * 10**exponent == amount_minor


@pytest.mark.parametrize("amount", [10.5, "1050", True, Decimal("10.5"), None])
def test_only_an_integer_is_formatted(amount: Any) -> None:
    with pytest.raises(TypeError, match="must be an int"):
        format_amount(amount, 2, "eur")


@pytest.mark.parametrize("exponent", [-2, 1, 4])
def test_an_exponent_that_no_currency_has(exponent: int) -> None:
    with pytest.raises(ValueError, match="exponent"):
        format_amount(1050, exponent, "eur")
