"""Currencies and charge limits (https://docs.stripe.com/currencies)."""

from __future__ import annotations

from local.stripe.errors import invalid_param
from local.stripe.kinds import words

# "Zero-decimal currencies" of that page.
ZERO_DECIMAL = frozenset(words("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"))
# "Three-decimal currencies": the last digit must be zero.
THREE_DECIMAL = frozenset(words("bhd jod kwd omr tnd"))
_TWO_DECIMAL = frozenset(
    words("""
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop
    crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes
    kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd
    pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd
    tzs uah ugx usd uyu uzs wst xcd xcg yer zar zmw
    """)
)
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | _TWO_DECIMAL

# "Minimum and maximum charge amounts", in minor units. Other currencies have the settlement currency's minimum after
# conversion, which needs exchange rates; here they take one minor unit.
MINIMUM_CHARGE_MINOR = {
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
    "usd": 50,
    "zar": 50,
}
# Eight digits, as the PaymentIntent's reference says, and what the currencies page gives beyond that.
MAXIMUM_CHARGE_MINOR = 99_999_999
_MORE_DIGITS = {"cop": 9_999_999_999, "idr": 999_999_999_999, "inr": 999_999_999}
# "Special cases": written with two decimals that must be zero; three-decimal amounts end in zero.
_STEP_MINOR = {"isk": 100, "ugx": 100, **dict.fromkeys(THREE_DECIMAL, 10)}


def check_currency(currency: str) -> str:
    """The currency in lower case, as Stripe answers it; 400 when Stripe can't charge it."""
    code = currency.lower()
    if code not in CURRENCIES:
        message = (
            f"Invalid currency: {currency}. Stripe currently supports these currencies: {', '.join(sorted(CURRENCIES))}"
        )
        raise invalid_param(message, "currency")
    return code


def check_amount(amount_minor: int, currency: str, param: str = "amount") -> None:
    """400 when an amount is outside what Stripe charges in the currency."""
    if amount_minor < 1:
        raise invalid_param("This value must be greater than or equal to 1.", param, "parameter_invalid_integer")
    if amount_minor < MINIMUM_CHARGE_MINOR.get(currency, 1):
        minimum = shown(MINIMUM_CHARGE_MINOR[currency], currency)
        raise invalid_param(f"Amount must be at least {minimum}", param, "amount_too_small")
    maximum = _MORE_DIGITS.get(currency, MAXIMUM_CHARGE_MINOR)
    if amount_minor > maximum:
        message = f"Amount must be no more than {shown(maximum, currency)}"
        raise invalid_param(message, param, "amount_too_large")
    step = _STEP_MINOR.get(currency, 1)
    if amount_minor % step:
        raise invalid_param(f"Invalid amount: in {currency} it must be a multiple of {step}.", param)


def shown(amount_minor: int, currency: str) -> str:
    """An amount as Stripe's messages write it: ``€0.50 eur``."""
    sign = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}.get(currency, "")
    places = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return f"{sign}{amount_minor / 10**places:,.{places}f} {currency}"
