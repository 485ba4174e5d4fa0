"""Password hashes of the local users, in `auth.users.encrypted_password`.

Format: `$scrypt$ln=10,r=8,p=1$<salt>$<key>`: scrypt (RFC 7914) with N = 2**ln, block size r, parallelism p; salt
(16 bytes) and derived key (32 bytes) in base64 without padding. Hosted Supabase stores bcrypt there; nothing of ours
reads the column on a hosted project.
"""

import base64
import hashlib
import hmac
import re
import secrets

# A sixteenth of RFC 7914's interactive choice (14): these passwords open a stack on loopback, and the tests make more
# than a thousand users.
_LOG2_N, _R, _P = 10, 8, 1
_FORMAT = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _derive(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    # OpenSSL's own limit is 32 MiB; scrypt needs 128 * N * r bytes and a little more.
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log2_n, r=r, p=p, dklen=32, maxmem=256 * 2**log2_n * r)


def hash_password(password: str) -> str:
    """Return the hash of a password with a fresh salt, in the format above."""
    salt = secrets.token_bytes(16)
    key = _derive(password, salt, _LOG2_N, _R, _P)
    return f"$scrypt$ln={_LOG2_N},r={_R},p={_P}${_encode(salt)}${_encode(key)}"


def verify_password(password: str, encrypted: str) -> bool:
    """Say whether the password is the one that was hashed; a hash of another format matches nothing."""
    match = _FORMAT.fullmatch(encrypted)
    if match is None:
        return False
    log2_n, r, p = (int(match[group]) for group in (1, 2, 3))
    return hmac.compare_digest(_derive(password, _decode(match[4]), log2_n, r, p), _decode(match[5]))
