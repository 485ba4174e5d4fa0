"""Object ids in Stripe's shape, repeatable under a seed."""

from __future__ import annotations

import hashlib
import random
import string

_ALPHABET = string.ascii_letters + string.digits
_OF_BYTES = bytes(ord(_ALPHABET[byte % len(_ALPHABET)]) for byte in range(256))

# Lengths of the random part follow the examples in https://docs.stripe.com/api.
_LENGTHS = {"cus": 14, "req": 14, "we": 24, "mandate": 24, "prv": 24, "issfr": 24}


class Ids:
    """Makes ids such as ``pi_3N…`` and secrets; two instances with one seed make the same sequence."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._salt = self._text(16)

    def _text(self, length: int) -> str:
        return self._random.randbytes(length).translate(_OF_BYTES).decode()

    def new(self, prefix: str) -> str:
        """A fresh id of a kind: ``new("pi")`` → ``pi_…``."""
        return f"{prefix}_{self._text(_LENGTHS.get(prefix, 24))}"

    def secret(self, length: int = 25) -> str:
        """The random part of a client secret or a webhook secret."""
        return self._text(length)

    def digits(self, length: int) -> str:
        """Random digits, as in network transaction ids."""
        return "".join(self._random.choices(string.digits, k=length))

    def fingerprint(self, number: str) -> str:
        """The same card number gives the same 16 characters in one account, and the number can't be read back."""
        digest = hashlib.sha256(f"{self._salt}:{number}".encode()).digest()
        return digest[:16].translate(_OF_BYTES).decode()

    def between(self, low: int, high: int) -> int:
        """A repeatable number, both ends included."""
        return self._random.randint(low, high)
