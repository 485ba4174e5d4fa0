"""Values, bodies and paths as nobody honest sends them."""

import json
import random
from typing import Any, Final

from hypothesis import strategies as st

TEXTS: Final = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\udfff\ud800",
        "\u202egnirts",
        "\u2066\u2069",
        "\ufeff",
        "\u0085",
        "e\u0301" * 50,
    ),
    *("\U0010ffff", "🏳️‍🌈" * 40, "ﷺ" * 60, "İ", "ß", "\r\nSet-Cookie: a=b", "\x1b[31m", "'; drop table bookings; --"),
    *('")]}', "{{7*7}}", "${jndi:ldap://x}", "%00", "%s%n", "../../etc/passwd", "\\u0000", "null", "true", "NaN", "-0"),
    *(
        "1e309",
        "0x10",
        "1_000",
        " 1",
        "\u0661",
        "a" * 201,
        "a" * 5000,
        "eq.1,or(id.gt.0)",
        "id.eq.1",
        "*",
        '"',
        ",",
        "()",
    ),
)
NUMBERS: Final = (
    *(0, -1, 1.0, 1.5, -0.0, 1e308, 99_999_999, 100_000_000, 2**31, 2**31 - 1, 2**53 + 1, 2**63, 2**64, -(2**63)),
    *(10**40, -(10**400), True, False, None),
)
DATES: Final = (
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:59-23:59", "294276-12-31T23:59:59Z", "294277-01-01T00:00:00Z", "-4713-01-01T00:00:00Z"),
    *("2030-02-30T00:00:00Z", "2030-01-01", "2030-01-01T00:00:00", "2030-01-01T24:00:00Z", "2030-01-01T23:59:60Z"),
    *("2030-01-01T00:00:00+23:59", "2030-01-01T00:00:00+24:00", "infinity", "-infinity", "now", "epoch", "1e3"),
    *(
        "2030-01-01T00:00:00.1234567Z",
        "20300101T000000Z",
        "\u0662\u0660\u0663\u0660-01-01T00:00:00Z",
        "2030-W01-1",
        1e12,
        4102444800,
    ),
)
IDS: Final = (
    *(
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "{4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01}",
    ),
    *(
        "urn:uuid:4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01",
        "4ad9f6a633b04a708d8f0c7c1a5b9a01",
        "4AD9F6A6-33B0-4A70-8D8F-0C7C1A5B9A0",
    ),
    *(
        "x",
        "%2F",
        "..",
        "%2e%2e",
        "..%2f..%2fhealth",
        "%00",
        "%ff%fe",
        "%F0%9F%92%A9",
        "%",
        "%zz",
        "a;b",
        "a%20b",
        "*",
        "a" * 3000,
    ),
    *(
        "seti_x",
        "seti_%0d%0aX: y",
        "seti_" + "a" * 400,
        "pi_1",
        "null",
        "undefined",
        "-1",
        "%7B%7D",
        "seti_1/../x",
        "seti_é",
    ),
)
RAW_BODIES: Final = (
    *(b"", b" ", b"null", b"true", b"[]", b'""', b"0", b"{", b"}", b"{}{}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{\x00}"),
    *(
        b'{"a":1,"a":2}',
        b'{"\\ud800":1}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b"{'a':1}",
    ),
    *(
        b'{"a":1,}',
        b"/*x*/{}",
        b"[" * 20_000,
        b'{"a":' * 5000,
        b"[" * 900 + b"]" * 900,
        b'{"a":"' + b"x" * 100_000 + b'"}',
    ),
    *(b"x" * 262_145, b'{"a":' + b"9" * 5000 + b"}", "{}".encode("utf-16"), "{}".encode("utf-32"), b"a=b&c=d", b"<a/>"),
)
CONTENT_TYPES: Final = (
    *("application/json", "application/json; charset=utf-16", "APPLICATION/JSON", "application/json;", "text/json", ""),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
        ";",
        "é",
    ),
    *("application/problem+json", "application/json, text/html", "application/jsonp", "a" * 4000, "application/json\t"),
)
QUERIES: Final = (
    *(
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1e2",
        "limit=\u0663",
        "limit=1&limit=2",
        "limit=",
        "limit",
        "limit=%00",
        "&&&",
        "=",
        "===",
    ),
    *(
        "cursor=",
        "cursor=e30",
        "cursor=W10",
        "cursor=////",
        "cursor=%F0%9F%92%A9",
        "cursor=" + "A" * 301,
        "cursor=" + "A" * 299,
    ),
    *(
        "cursor=WyIyMDMwLTAxLTAxVDAwOjAwOjAwWiIsImEiXQ",
        "cursor=WyJpbmZpbml0eSIsICJhIl0",
        "cursor=W1tbW1tbW10",
        "x=1",
        "limit[]=1",
    ),
    *(
        "cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwgImEiXQ",
        "%6Cimit=5",
        "limit=5&%6Cimit=6",
        "a" * 4000,
        "limit=5;cursor=x",
        "%",
    ),
    *(
        "limit=" + "9" * 5000,
        "cursor=WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwgIlx1MDAwMCJd",
        "select=*",
        "or=(id.gt.0)",
        "+",
        "%0d%0aX:y",
    ),
)

_json_texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=30))
json_values = st.recursive(
    st.one_of(
        st.sampled_from(NUMBERS), _json_texts, st.integers(), st.floats(), st.sampled_from(DATES), st.sampled_from(IDS)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_json_texts, inner, max_size=4)),
    max_leaves=12,
)
"""What JSON can hold, and some of what it can't (NaN, lone surrogates)."""


def dumped(value: Any, chance: random.Random) -> bytes:
    """As JSON, now escaped and now raw, at times damaged or with a key twice."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    raw = text.encode("utf-8", "surrogatepass")
    way = chance.random()
    if way < 0.08 and len(raw) > 2:
        place = chance.randrange(len(raw))
        return raw[:place] + bytes([chance.randrange(256)]) + raw[place + chance.randrange(2) :]
    if way < 0.12:
        return raw[: chance.randrange(len(raw) + 1)]
    if way < 0.16 and raw[:1] == b"{" and len(raw) > 2:
        return b"{" + raw[1:-1] + b"," + raw[1:-1] + b"}"
    return raw


def spoilt(sound: Any, value: Any, chance: random.Random) -> Any:
    """A sound body with a hostile value somewhere: in the place of a field, beside the fields, or of everything."""
    if not isinstance(sound, dict) or chance.random() < 0.1:
        return value
    body = dict(sound)
    names = list(body)
    way = chance.random()
    if way < 0.1:
        body[chance.choice(TEXTS)] = value
    elif way < 0.2 and names:
        del body[chance.choice(names)]
        body[chance.choice(names)] = value
    elif names:
        name = chance.choice(names)
        inner = body[name]
        if isinstance(inner, dict) and chance.random() < 0.7:
            body[name] = spoilt(inner, value, chance) if inner else {"k": value}
        elif isinstance(inner, list) and inner and chance.random() < 0.8:
            body[name] = [spoilt(item, value, chance) for item in inner] * chance.choice((1, 1, 2))
        else:
            body[name] = value
    return body


JSON_SOUND: Final[dict[str, Any]] = {
    "/setup-intent": {"consent": {"terms_version": "2026-10"}},
    "/payment-methods/{id}": {"is_default": True},
    "/campaigns": {
        "title": "A long weekend",
        "criteria": {"trip": "none"},
        "currency": "eur",
        "max_price_minor": 15_000,
        "budget_minor": 50_000,
        "max_bookings": 4,
        "expires_at": "2090-01-01T00:00:00Z",
        "payment_method_id": "4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01",
        "use_backups": False,
        "capture": "automatic",
        "when_hold_ends": "void",
        "auto_book": False,
    },
    "/campaigns/{id}": {"title": "Another", "budget_minor": 60_000, "criteria": {"trip": "none"}},
    "/offers": {
        "offers": [
            {
                "id": "offer-1",
                "attributes": {"trip": "none-at-all", "stars": 3},
                "amount_minor": 12_000,
                "currency": "eur",
                "expires_at": "2090-01-01T00:00:00Z",
            }
        ]
    },
    "/charge-booking": {"campaign_id": "4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01", "offer_id": "offer-1"},
    "/bookings/{id}/capture": {"amount_minor": 100},
    "/bookings/{id}/refund": {"amount_minor": 100, "reason": "requested_by_customer"},
}
"""A sound body for each path that takes one."""
