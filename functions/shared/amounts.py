"""The two fields that money has in every request and row: an integer of minor units, and a currency.

Whether the currency is one that Stripe charges, and whether the amount is enough for it, is the database's
knowledge (`public.currencies`), not these types'.
"""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

MAXIMUM_AMOUNT_MINOR: Final = 99_999_999
"""Eight digits, the most that a PaymentIntent's `amount` takes in every currency (https://docs.stripe.com/api)."""

AmountMinor = Annotated[int, Field(strict=True, gt=0, le=MAXIMUM_AMOUNT_MINOR)]
"""A positive amount in minor units. A JSON `true`, `"1"` or `1.0` is an error, not one cent."""

CurrencyCode = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z]{3}$")]
"""An ISO 4217 code in lower case, as Stripe's API writes it."""
