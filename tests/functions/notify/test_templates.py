"""Every kind of message: that it can be written, says what it must, and is safe to show."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from functions.notify import templates
from functions.notify.notice import Notice
from tests.functions.notify.samples import APP_URL, BOOKING_ID, CAMPAIGN_ID, DATA, sample

SQL = sorted((Path(__file__).parents[3] / "sql").glob("*.sql"))
KINDS = sorted(templates.kinds())
COMPOSED = {"'booking_' || ending": {"booking_failed", "booking_cancelled"}}
"""Kinds that SQL puts together at run time, by the expression that does."""


def letter(kind: str, **changes: Any) -> templates.Letter:
    return templates.write(Notice.model_validate(sample(kind, **changes)), APP_URL)


class Page(HTMLParser):
    """What of a page a reader sees, and where it leads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def links(self) -> list[str | None]:
        return [attributes["href"] for tag, attributes in self.tags if tag == "a"]


def kinds_that_sql_writes() -> set[str]:
    """The second argument of each call of notify_user, as literals."""
    found: set[str] = set()
    for path in SQL:
        text = path.read_text("utf-8")
        for call in re.finditer(r"(?<!function )internal\.notify_user\(", text):
            expression = _second_argument(text[call.end() :])
            if expression in COMPOSED:
                found |= COMPOSED[expression]
                continue
            literals = set(re.findall(r"(?:then|else|^)\s*'([a-z_]+)'", expression))
            assert literals, f"{path.name}: which kinds can `{expression}` be? Add it to COMPOSED."
            found |= literals
    return found


def _second_argument(text: str) -> str:
    """The second of the comma-separated arguments at the beginning of a text."""
    depth, arguments = 0, [""]
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0 or len(arguments) == 3:
            break
        if character == "," and depth == 0:
            arguments.append("")
        else:
            arguments[-1] += character
    return arguments[1].strip()


def test_every_kind_that_sql_writes_has_words() -> None:
    written = kinds_that_sql_writes()
    assert {"booking_confirmed", "booking_failed", "refund_issued", "refund_failed", "card_unusable"} <= written
    assert written <= templates.kinds()


def test_every_kind_has_a_sample_and_every_sample_a_kind() -> None:
    assert set(DATA) == templates.kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_subject_a_text_and_a_page_that_say_the_same(kind: str) -> None:
    written = letter(kind)
    page = Page(written.html)
    assert 10 <= len(written.subject) <= 100
    assert "\n" not in written.subject
    paragraphs = written.text.partition(f": {APP_URL}")[0].split("\n\n")[:-1]
    assert paragraphs
    for paragraph in paragraphs:
        assert "\n" not in paragraph
        assert paragraph in page.text()
    (link,) = page.links()
    assert link is not None
    assert link.startswith(f"{APP_URL}/")
    assert f": {link}\n" in written.text
    assert "UTC" in written.text
    assert written.text.count("None") == written.html.count("None") == 0
    assert "{" not in written.text + page.text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_can_be_written_with_nothing_but_its_ids(kind: str) -> None:
    """A cause may know less than the sample, and rows may be gone: the message still goes out, and reads well."""
    bare = letter(kind, data={}, card=None, campaign=None, booking=None, exponent=None)
    assert "None" not in bare.text
    assert not re.search(r" [.,]|\.\.|  ", bare.text.partition(f": {APP_URL}")[0])
    full = letter(kind)
    assert not re.search(r" [.,]|\.\.|  ", full.text.partition(f": {APP_URL}")[0])


@pytest.mark.parametrize("kind", sorted(kind for kind in KINDS if "user_message" in DATA[kind]))
def test_the_sentence_of_a_decline_is_said_as_it_is(kind: str) -> None:
    sentence = "This card can't be used for <this> payment & no other. Please choose another card."
    written = letter(kind, data=DATA[kind] | {"user_message": sentence})
    assert sentence in written.text
    assert sentence in Page(written.html).text()
    assert "<this>" not in written.html


def test_what_a_user_has_typed_stays_text() -> None:
    title = '<script>alert("x")</script>\r\nBcc: eve@example.com\x07 {{ 7 * 7 }}'
    written = letter("booking_confirmed", campaign={"id": CAMPAIGN_ID, "title": title})
    assert "<script" not in written.html
    assert {tag for tag, _ in Page(written.html).tags}.isdisjoint({"script", "img", "iframe", "link"})
    shown = '<script>alert("x")</script> Bcc: eve@example.com {{ 7 * 7 }}'
    assert f"Campaign: {shown}\n" in written.text
    assert shown in Page(written.html).text()
    assert "\n" not in written.subject
    assert "\r" not in written.subject + written.text + written.html


def test_a_long_title_makes_no_long_subject() -> None:
    title = "Anywhere warm with a beach and a good library nearby, " * 4
    written = letter("booking_confirmed", campaign={"id": CAMPAIGN_ID, "title": title[:200]})
    assert len(written.subject) <= 70
    assert written.subject.endswith("…")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_loads_and_nothing_tells_that_it_was_opened(kind: str) -> None:
    written = letter(kind)
    assert {tag for tag, _ in Page(written.html).tags}.isdisjoint({"img", "script", "iframe", "link", "object", "form"})
    assert "url(" not in written.html
    assert "?" not in "".join(str(link) for link in Page(written.html).links())


@pytest.mark.parametrize(
    ("amount_minor", "currency", "exponent", "shown"),
    [
        (12500, "eur", 2, "€125.00"),
        (12500, "jpy", 0, "¥12,500"),
        (12500, "kwd", 3, "KWD\N{NO-BREAK SPACE}12.500"),
        (500, "isk", 2, "ISK\N{NO-BREAK SPACE}5"),
    ],
)
def test_amounts_are_written_in_their_currency(amount_minor: int, currency: str, exponent: int, shown: str) -> None:
    data = {"amount_minor": amount_minor, "currency": currency}
    written = letter("refund_issued", data=data, exponent=exponent)
    assert f"refunded {shown} for" in written.text
    assert f"Amount: {shown}\n" in written.text


def test_without_an_amount_of_its_own_a_message_names_the_bookings_price() -> None:
    assert "It costs €125.00" in letter("authentication_required", data={}).text


@pytest.mark.parametrize(
    ("brand", "shown"),
    [
        ("visa", "Visa"),
        ("amex", "American Express"),
        ("jcb", "JCB"),
        ("unknown", "Card"),
        ("a_new_one", "A new one"),
    ],
)
def test_a_card_is_its_brand_and_last_four(brand: str, shown: str) -> None:
    card = {"brand": brand, "last4": "0005", "exp_month": 1, "exp_year": 2031}
    assert f"{shown} ending in 0005" in letter("booking_confirmed", card=card).text


def test_times_are_told_in_utc_whatever_zone_they_come_in() -> None:
    written = letter("authentication_required", data={"expires_at": "2026-12-01T00:30:00+02:00"})
    assert "by 30 November 2026, 22:30 UTC." in written.text


def test_the_cardholder_is_led_to_where_they_can_authenticate() -> None:
    (link,) = Page(letter("authentication_required").html).links()
    assert link == f"{APP_URL}/bookings/{BOOKING_ID}/authenticate"


def test_a_failure_says_whether_the_campaign_goes_on() -> None:
    assert "The campaign is paused" in letter("booking_failed").text
    assert "paused" not in letter("booking_failed", data={"campaign_paused": False}).text


@pytest.mark.parametrize("reason", ["fraud_warning", "something new", None])
def test_a_pause_out_of_suspicion_does_not_say_so(reason: str | None) -> None:
    text = letter("campaign_paused", data={"reason": reason} if reason else {}).text
    assert "paused, as a precaution." in text
    assert "fraud" not in text


@pytest.mark.parametrize("kind", ["fraud_warning", "booking_under_review"])
def test_a_suspicion_is_not_called_by_its_name(kind: str) -> None:
    written = letter(kind)
    assert not re.search(r"fraud|stolen|lost|suspic|risk", written.text + written.subject, re.IGNORECASE)


def test_all_cards_gone_is_said_of_all() -> None:
    gone = letter("card_removed", data={"all": True}, card=None)
    assert gone.subject == "Your cards are no longer saved"
    assert "None of your cards is saved" in gone.text
    assert letter("card_removed").subject == "One of your cards is no longer saved"


def test_one_stopped_campaign_is_not_many() -> None:
    assert "one campaign is paused" in letter("campaigns_stopped", data={"count": 1}).text
    assert "3 campaigns are paused" in letter("campaigns_stopped").text
    assert "all your campaigns are paused" in letter("campaigns_stopped", data={}).text


def test_a_kind_without_words_is_named() -> None:
    with pytest.raises(templates.UnknownKindError, match="a_new_kind"):
        letter("a_new_kind")


def test_a_letter_does_not_show_what_it_says() -> None:
    assert repr(letter("booking_confirmed")) == "Letter()"
