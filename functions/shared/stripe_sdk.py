"""The Stripe SDK, imported without the HTTP library that we do not use.

`stripe` imports `requests` while it loads, if it is installed, for a client that is never made here: our calls go
through httpx, which the database client needs anyway. That import is a fifth of a function's cold start
(docs/decisions/0002-cold-start.md), so it is made to fail, as the SDK allows for. Import `stripe` from here.
"""

import sys

_hidden = "requests" not in sys.modules
if _hidden:
    # https://docs.python.org/3/reference/import.html#the-module-cache: None makes an import raise ModuleNotFoundError.
    sys.modules["requests"] = None  # type: ignore[assignment]  # documented, yet typed as if it never happened
try:
    import stripe
finally:
    if _hidden:
        del sys.modules["requests"]

__all__ = ["stripe"]
