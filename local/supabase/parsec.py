"""Parser combinators that report errors as Haskell's Parsec does.

PostgREST parses query strings with Parsec, and its error bodies carry Parsec's own words ("unexpected … expecting
…"). To answer the same, these combinators keep Parsec's rules: which alternatives still count, whose expectation is
named, at which column. Source: parsec 3.1, `Text.Parsec.Prim` and `Text.Parsec.Error`.

A parser takes the text and a position and returns an `Outcome`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")

# The kinds of messages, in the order in which they are shown.
_SYSTEM_UNEXPECTED, _UNEXPECTED, _EXPECTED = range(3)


class Failure(NamedTuple):
    """What was (un)expected at a position: pairs of kind and text; without any it is an unknown error."""

    position: int
    messages: tuple[tuple[int, str], ...] = ()


class Outcome(NamedTuple, Generic[T]):
    """The result of a parser; `failure` also belongs to a success: what else could have come here."""

    consumed: bool
    ok: bool
    value: T | None
    position: int
    failure: Failure


Parser = Callable[[str, int], Outcome[T]]


class ParseError(Exception):
    """The text does not fit: `column` counts from 1, `description` is Parsec's sentence."""

    def __init__(self, column: int, description: str) -> None:
        super().__init__(description)
        self.column = column
        self.description = description


def _merge(first: Failure, second: Failure) -> Failure:
    if first.messages and not second.messages:
        return first
    if second.messages and not first.messages:
        return second
    if first.position == second.position:
        return Failure(first.position, first.messages + second.messages)
    return first if first.position > second.position else second


def _show(text: str) -> str:
    """Write a string as Haskell's `show` does."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    shown = "".join(escapes.get(c, c if 32 <= ord(c) < 127 else f"\\{ord(c)}") for c in text)
    return f'"{shown}"'


def pure(value: T) -> Parser[T]:
    """Succeed without reading."""
    return lambda _text, at: Outcome(False, True, value, at, Failure(at))


def bind(parser: Parser[T], then: Callable[[T], Parser[U]]) -> Parser[U]:
    """Run a parser, then the one that its value asks for."""

    def run(text: str, at: int) -> Outcome[U]:
        first = parser(text, at)
        if not first.ok:
            return Outcome(first.consumed, False, None, first.position, first.failure)
        second = then(first.value)(text, first.position)  # type: ignore[arg-type]  # ok: the value is a T
        if second.consumed:
            return second
        failure = _merge(first.failure, second.failure) if first.failure.messages else second.failure
        return Outcome(first.consumed, second.ok, second.value, second.position, failure)

    return run


def chain(*parsers: Parser[Any]) -> Parser[list[Any]]:
    """Run parsers one after the other and collect their values."""

    def collect(rest: tuple[Parser[Any], ...], values: list[Any]) -> Parser[list[Any]]:
        if not rest:
            return pure(values)
        return bind(rest[0], lambda value: collect(rest[1:], [*values, value]))

    return collect(parsers, [])


def fmap(function: Callable[[T], U], parser: Parser[T]) -> Parser[U]:
    """Apply a function to a parser's value."""

    def run(text: str, at: int) -> Outcome[U]:
        found = parser(text, at)
        value = function(found.value) if found.ok else None  # type: ignore[arg-type]  # ok: the value is a T
        return Outcome(found.consumed, found.ok, value, found.position, found.failure)

    return run


def right(*parsers: Parser[Any]) -> Parser[Any]:
    """Run parsers in a row and keep the last one's value."""
    return fmap(lambda values: values[-1], chain(*parsers))


def left(*parsers: Parser[Any]) -> Parser[Any]:
    """Run parsers in a row and keep the first one's value."""
    return fmap(lambda values: values[0], chain(*parsers))


def either(*parsers: Parser[Any]) -> Parser[Any]:
    """Take the first parser that succeeds; one that fails after reading ends the search."""

    def run(text: str, at: int) -> Outcome[Any]:
        failure = Failure(at)
        for parser in parsers:
            found = parser(text, at)
            if found.consumed:
                return found
            failure = _merge(failure, found.failure)
            if found.ok:
                return found._replace(failure=failure)
        return Outcome(False, False, None, at, failure)

    return run


def attempt(parser: Parser[T]) -> Parser[T]:
    """Parsec's `try`: pretend that nothing was read when the parser fails."""

    def run(text: str, at: int) -> Outcome[T]:
        found = parser(text, at)
        return found if found.ok else found._replace(consumed=False, position=at)

    return run


def look_ahead(parser: Parser[T]) -> Parser[T]:
    """Succeed like the parser, but read nothing."""

    def run(text: str, at: int) -> Outcome[T]:
        found = parser(text, at)
        return Outcome(False, True, found.value, at, Failure(at)) if found.ok else found

    return run


def named(parser: Parser[T], name: str) -> Parser[T]:
    """Parsec's `<?>`: when the parser fails at its start, say that this was expected."""

    def run(text: str, at: int) -> Outcome[T]:
        found = parser(text, at)
        if found.consumed or (found.ok and not found.failure.messages):
            return found
        messages = ((_EXPECTED, name), *(m for m in found.failure.messages if m[0] != _EXPECTED))
        return found._replace(failure=Failure(found.failure.position, messages))

    return run


def satisfy(accepts: Callable[[str], bool]) -> Parser[str]:
    """Read one character that is accepted."""

    def run(text: str, at: int) -> Outcome[str]:
        if at >= len(text):
            return Outcome(False, False, None, at, Failure(at, ((_SYSTEM_UNEXPECTED, ""),)))
        if not accepts(text[at]):
            return Outcome(False, False, None, at, Failure(at, ((_SYSTEM_UNEXPECTED, _show(text[at])),)))
        return Outcome(True, True, text[at], at + 1, Failure(at + 1))

    return run


def char(wanted: str) -> Parser[str]:
    """Read this character."""
    return named(satisfy(lambda c: c == wanted), _show(wanted))


def one_of(characters: str) -> Parser[str]:
    """Read one of these characters."""
    return satisfy(lambda c: c in characters)


def none_of(characters: str) -> Parser[str]:
    """Read a character that is none of these."""
    return satisfy(lambda c: c not in characters)


def string(wanted: str) -> Parser[str]:
    """Read this string; a mismatch after its first character counts as having read."""

    def run(text: str, at: int) -> Outcome[str]:
        for offset, expected in enumerate(wanted):
            place = at + offset
            if place < len(text) and text[place] == expected:
                continue
            unexpected = _show(text[place]) if place < len(text) else ""
            failure = Failure(at, ((_EXPECTED, _show(wanted)), (_SYSTEM_UNEXPECTED, unexpected)))
            return Outcome(offset > 0, False, None, at, failure)
        return Outcome(True, True, wanted, at + len(wanted), Failure(at + len(wanted)))

    return run


def many(parser: Parser[T]) -> Parser[list[T]]:
    """Run a parser as often as it succeeds, perhaps never."""

    def run(text: str, at: int) -> Outcome[list[T]]:
        values: list[T] = []
        place = at
        while True:
            found = parser(text, place)
            if not found.ok:
                if found.consumed:
                    return Outcome(True, False, None, found.position, found.failure)
                return Outcome(place > at, True, values, place, found.failure)
            values.append(found.value)  # type: ignore[arg-type]  # ok: the value is a T
            place = found.position

    return run


def many1(parser: Parser[T]) -> Parser[list[T]]:
    """Run a parser as often as it succeeds, at least once."""
    return bind(parser, lambda first: fmap(lambda rest: [first, *rest], many(parser)))


def sep_by1(parser: Parser[T], separator: Parser[Any]) -> Parser[list[T]]:
    """Read one or more, separated."""
    return bind(parser, lambda first: fmap(lambda rest: [first, *rest], many(right(separator, parser))))


def sep_by(parser: Parser[T], separator: Parser[Any]) -> Parser[list[T]]:
    """Read any number, separated."""
    return either(sep_by1(parser, separator), pure([]))


def optional(parser: Parser[T], default: U) -> Parser[T | U]:
    """Read it if it is there."""
    return either(parser, pure(default))


def between(opening: Parser[Any], closing: Parser[Any], parser: Parser[T]) -> Parser[T]:
    """Read something enclosed."""
    return bind(opening, lambda _: bind(parser, lambda value: fmap(lambda _: value, closing)))


def not_followed_by(parser: Parser[Any]) -> Parser[None]:
    """Succeed, reading nothing, where the parser would fail."""

    def run(text: str, at: int) -> Outcome[None]:
        found = parser(text, at)
        if not found.ok:
            return Outcome(False, True, None, at, Failure(at))
        shown = f"'{found.value}'" if isinstance(found.value, str) and len(found.value) == 1 else "value"
        return Outcome(False, False, None, at, Failure(found.position, ((_UNEXPECTED, shown),)))

    return run


def _end(text: str, at: int) -> Outcome[None]:
    if at >= len(text):
        return Outcome(False, True, None, at, Failure(at))
    return Outcome(False, False, None, at, Failure(at, ((_UNEXPECTED, f"'{text[at]}'"),)))


end = named(_end, "end of input")


def lazy(make: Callable[[], Parser[T]]) -> Parser[T]:
    """Refer to a parser that is defined later."""
    return lambda text, at: make()(text, at)  # noqa: PLW0108  # `make` must not be called yet


def _or_list(words: Iterable[str]) -> str:
    unique = [word for word in dict.fromkeys(words) if word]
    return " or ".join(filter(None, [", ".join(unique[:-1]), unique[-1]])) if unique else ""


def _describe(failure: Failure) -> str:
    if not failure.messages:
        return "unknown parse error"
    by_kind = {
        kind: [text for k, text in failure.messages if k == kind]
        for kind in (_SYSTEM_UNEXPECTED, _UNEXPECTED, _EXPECTED)
    }
    sentences = []
    if by_kind[_SYSTEM_UNEXPECTED] and not by_kind[_UNEXPECTED]:
        sentences.append("unexpected " + (by_kind[_SYSTEM_UNEXPECTED][0] or "end of input"))
    if unexpected := _or_list(by_kind[_UNEXPECTED]):
        sentences.append("unexpected " + unexpected)
    if expected := _or_list(by_kind[_EXPECTED]):
        sentences.append("expecting " + expected)
    return " ".join(dict.fromkeys(sentences))


def parse(parser: Parser[T], text: str) -> T:
    """Parse the text (what follows a complete parse is ignored); raises `ParseError`."""
    found = parser(text, 0)
    if not found.ok:
        raise ParseError(found.failure.position + 1, _describe(found.failure))
    return found.value  # type: ignore[return-value]  # ok: the value is a T
