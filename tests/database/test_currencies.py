"""`public.currencies` against what https://docs.stripe.com/currencies lists, read from the file that fills it."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

FILE = Path(__file__).parents[2] / "sql" / "0003_currencies.sql"

# "Supported presentment currencies", the union over the accounts' countries: 134 everywhere, and the five with three
# decimals for accounts in the Emirates. The page's list of 2023 less bgn (Bulgaria pays in euro since 2026), with xcg.
_PRESENTMENT = """
aed afn all amd ang aoa ars aud awg azn bam bbd bdt bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk
jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr
mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos
srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
"""
PRESENTMENT = set(_PRESENTMENT.split())
# "Zero-decimal currencies", without ugx: the "Special cases" of the same page write it with two decimals.
_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
ZERO_DECIMAL = set(_ZERO_DECIMAL.split())
THREE_DECIMAL = {"bhd", "jod", "kwd", "omr", "tnd"}
# "Special cases": "you can't charge fractions of" these.
WHOLE_ONLY = {"isk", "ugx"}
# "Minimum charge amount by currency", in minor units.
MINIMUMS = {
    "usd": 50,
    "aed": 200,
    "ars": 50,
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "cop": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "idr": 50,
    "ils": 50,
    "inr": 50,
    "jpy": 50,
    "krw": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "php": 50,
    "pln": 200,
    "ron": 200,
    "rub": 50,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
    "zar": 50,
}
# "Maximum charge amounts": eight digits but for these.
MAXIMUMS = {"idr": 999_999_999_999, "cop": 9_999_999_999, "inr": 999_999_999}


class Row(NamedTuple):
    """One row of the table, in the order of the file's columns."""

    code: str
    exponent: int
    minimum_charge_minor: int
    minimum_is_published: bool
    maximum_charge_minor: int
    amount_step_minor: int


def read_rows() -> list[Row]:
    values = FILE.read_text(encoding="utf-8").partition("\n) values\n")[2]
    rows = []
    for line in values.splitlines():
        match = re.fullmatch(r"\('([a-z]{3})',\s+(\d),\s+(\d+),\s+(true|false),\s+(\d+),\s+(\d+)\)[,;]", line)
        assert match, f"not a row: {line!r}"
        code, exponent, minimum, published, maximum, step = match.groups()
        rows.append(Row(code, int(exponent), int(minimum), published == "true", int(maximum), int(step)))
    return rows


ROWS = read_rows()


def test_every_presentment_currency_has_one_row() -> None:
    assert len(PRESENTMENT) == 139
    assert sorted(row.code for row in ROWS) == sorted(PRESENTMENT)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_row_says_what_stripe_says(row: Row) -> None:
    assert row.exponent == (0 if row.code in ZERO_DECIMAL else 3 if row.code in THREE_DECIMAL else 2)
    assert row.amount_step_minor == (100 if row.code in WHOLE_ONLY else 10 if row.code in THREE_DECIMAL else 1)
    assert row.maximum_charge_minor == MAXIMUMS.get(row.code, 99_999_999)
    assert row.minimum_is_published == (row.code in MINIMUMS)
    if row.minimum_is_published:
        assert row.minimum_charge_minor == MINIMUMS[row.code]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_minimum_can_be_charged(row: Row) -> None:
    assert row.minimum_charge_minor % row.amount_step_minor == 0
    assert 0 < row.minimum_charge_minor < row.maximum_charge_minor


def test_pegged_currencies_have_the_minimum_of_a_dollar() -> None:
    """An unpublished minimum is about one dollar; where the rate is pegged, that can be said to the cent.

    Pegs per US dollar: aruban florin 1.79, bahamian and bermudian dollar, panamanian balboa 1, barbadian and belize
    dollar 2, djibouti franc 177.721, jordanian dinar 0.709, omani rial 0.3845, bahraini dinar 0.376, qatari rial
    3.64, saudi riyal 3.75, east caribbean dollar 2.70.
    """
    dollars = {"awg": 1.79, "bsd": 1, "bmd": 1, "pab": 1, "bbd": 2, "bzd": 2, "djf": 177.721, "jod": 0.709}
    dollars |= {"omr": 0.3845, "bhd": 0.376, "qar": 3.64, "sar": 3.75, "xcd": 2.70, "ang": 1.79, "xcg": 1.79}
    by_code = {row.code: row for row in ROWS}
    for code, per_dollar in dollars.items():
        row = by_code[code]
        assert per_dollar <= row.minimum_charge_minor / 10**row.exponent <= per_dollar * 1.15, code
