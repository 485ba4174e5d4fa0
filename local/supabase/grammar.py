"""PostgREST's grammar of query strings.

Source: https://docs.postgrest.org/en/stable/references/api/url_grammar.html and PostgREST 13
`src/PostgREST/ApiRequest/QueryParams.hs`; each rule here is the rule of that name there, because the words of a parse
error depend on how the rules are cut.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeVar

from local.supabase.errors import parse_error
from local.supabase.parsec import (
    ParseError,
    Parser,
    attempt,
    between,
    bind,
    chain,
    char,
    either,
    end,
    fmap,
    lazy,
    left,
    look_ahead,
    many,
    many1,
    named,
    none_of,
    not_followed_by,
    one_of,
    optional,
    parse,
    pure,
    right,
    satisfy,
    sep_by,
    sep_by1,
    string,
)
from local.supabase.syntax import (
    Condition,
    EmbedPath,
    Field,
    Filter,
    JsonStep,
    Logic,
    Operation,
    OrderTerm,
    SelectField,
    SelectItem,
    SelectRelation,
)

T = TypeVar("T")


def _join(parser: Parser[list[str]]) -> Parser[str]:
    return fmap("".join, parser)


def _stripped(parser: Parser[list[str]]) -> Parser[str]:
    return fmap(lambda characters: "".join(characters).strip(), parser)


def _lexeme(parser: Parser[T]) -> Parser[T]:
    space = many(one_of(" \t"))
    return bind(space, lambda _: left(parser, space))


_letter = named(satisfy(str.isalpha), "letter")
_digit = named(satisfy(lambda c: c.isascii() and c.isdigit()), "digit")
_dot = named(char("."), "delimiter (.)")
_dash = attempt(left(char("-"), not_followed_by(char(">"))))

_quoted_value = between(
    char('"'),
    char('"'),
    _join(many(either(none_of('\\"'), right(char("\\"), satisfy(lambda _: True))))),
)
_identifier = _stripped(many1(either(_letter, _digit, one_of("_ $"))))
_field_name = named(
    either(_quoted_value, fmap("-".join, sep_by1(_identifier, _dash))), "field name (* or [a..z0..9_$])"
)

_json_key = named(
    either(_quoted_value, fmap("-".join, sep_by1(_stripped(many1(none_of("(-:.,>)"))), _dash))),
    "any non reserved character different from: .,>()",
)
_index_end = either(*(attempt(look_ahead(string(s))) for s in ("->", "::", ".", ",")), attempt(end))
_json_index = left(_join(chain(optional(char("-"), "+"), _join(many1(_digit)))), _index_end)


def _json_step(arrow: Literal["->", "->>"]) -> Parser[JsonStep]:
    return either(
        attempt(fmap(lambda index: JsonStep(arrow, index, True), _json_index)),
        attempt(fmap(lambda key: JsonStep(arrow, key, False), _json_key)),
    )


_json_path: Parser[list[JsonStep]] = many(bind(either(attempt(string("->>")), attempt(string("->"))), _json_step))
_field: Parser[Field] = _lexeme(
    fmap(lambda both: Field(both[0], tuple(both[1])), chain(_field_name, optional(_json_path, [])))
)

# ---------------------------------------------------------------------------------------------------------- select

_alias = optional(attempt(left(_field_name, right(char(":"), not_followed_by(char(":"))))), None)
_item_end = either(attempt(look_ahead(string(")"))), attempt(look_ahead(string(","))), attempt(end))
_cast = optional(right(string("::"), _identifier), None)
_embed_parameter = optional(
    right(
        char("!"),
        either(
            attempt(fmap(lambda _: ("join", "left"), string("left"))),
            attempt(fmap(lambda _: ("join", "inner"), string("inner"))),
            attempt(fmap(lambda hint: ("hint", hint), _field_name)),
        ),
    ),
    None,
)
_aggregate = optional(
    attempt(
        left(
            right(
                char("."),
                either(string("sum"), string("avg"), string("count"), attempt(string("max")), attempt(string("min"))),
            ),
            string("()"),
        )
    ),
    None,
)

_star = fmap(lambda star: SelectField(Field(star)), left(string("*"), _item_end))
_count = fmap(
    lambda parts: SelectField(Field("*"), alias=parts[0], aggregate="count"),
    chain(_alias, string("count()"), _cast, _item_end),
)
_column = fmap(
    lambda parts: SelectField(parts[1], alias=parts[0], cast=parts[2], aggregate=parts[3]),
    chain(_alias, _field, _cast, _aggregate, _cast, _item_end),
)
_select_field: Parser[SelectField] = _lexeme(either(attempt(_star), attempt(_count), _column))

_open_parenthesis = attempt(look_ahead(string("(")))
_not_count: Callable[[str], Parser[str]] = lambda name: _fail if name == "count" else pure(name)  # noqa: E731  # one line


def _fail(text: str, at: int) -> Any:
    """Parsec's `mzero`: fail without a word."""
    return either()(text, at)


_relation_head = attempt(
    _lexeme(chain(_alias, bind(_field_name, _not_count), _embed_parameter, _embed_parameter, _open_parenthesis))
)
_spread_head = attempt(
    _lexeme(
        chain(
            pure(None),
            right(string("..."), _field_name),
            _embed_parameter,
            _embed_parameter,
            _open_parenthesis,
        )
    )
)


def _relation(head: Parser[list[Any]], *, spread: bool) -> Parser[SelectRelation]:
    def build(parts: list[Any]) -> SelectRelation:
        (alias, name, first, second, _), items = parts
        told = dict(parameter for parameter in (second, first) if parameter)
        return SelectRelation(name, alias, told.get("hint"), told.get("join") == "inner", spread, tuple(items))

    return fmap(build, chain(head, between(char("("), char(")"), lazy(lambda: _select))))


_select: Parser[list[SelectItem]] = sep_by(
    either(_relation(_spread_head, spread=True), _relation(_relation_head, spread=False), _select_field),
    _lexeme(char(",")),
)

# --------------------------------------------------------------------------------------------------------- filters

_QUANTIFIABLE = ("eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch")
_SIMPLE = ("neq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj")
_IS_VALUES = ("null", "not_null", "true", "false", "unknown")

_list_element = either(attempt(left(_quoted_value, not_followed_by(none_of(",)")))), _join(many(none_of(",)"))))
_list_value = between(_lexeme(char("(")), _lexeme(char(")")), sep_by1(_list_element, char(",")))


def _any_case(word: str) -> Parser[str]:
    letters = [either(char(c), char(c.upper())) for c in word]
    return fmap(lambda _: word, chain(*letters))


_is_value = named(
    either(*(attempt(_any_case(word)) for word in _IS_VALUES)),
    "isVal: (null, not_null, true, false, unknown)",
)
_quantifier = optional(attempt(between(char("("), char(")"), either(attempt(string("any")), string("all")))), None)
_language = optional(attempt(between(char("("), char(")"), _identifier)), None)


def _operation(single_value: Parser[str]) -> Parser[Operation]:
    unknown = "unknown single value operator"
    simple = named(either(*(attempt(string(word)) for word in _SIMPLE)), unknown)
    quantifiable = named(either(*(attempt(string(word)) for word in _QUANTIFIABLE)), unknown)
    search = either(*(attempt(string(word)) for word in ("fts", "plfts", "phfts", "wfts")))
    operation: Parser[Operation] = named(
        either(
            fmap(
                lambda values: Operation("in", tuple(values)),
                right(attempt(right(string("in"), _dot)), _list_value),
            ),
            fmap(lambda word: Operation("is", (word,)), right(attempt(right(string("is"), _dot)), _is_value)),
            fmap(
                lambda value: Operation("isdistinct", (value,)),
                right(attempt(right(string("isdistinct"), _dot)), single_value),
            ),
            attempt(
                fmap(
                    lambda parts: Operation(parts[0], (parts[3],), language=parts[1]),
                    chain(search, _language, _dot, single_value),
                )
            ),
            attempt(fmap(lambda parts: Operation(parts[0], (parts[2],)), chain(simple, _dot, single_value))),
            attempt(
                fmap(
                    lambda parts: Operation(parts[0], (parts[3],), quantifier=parts[1]),
                    chain(quantifiable, _quantifier, _dot, single_value),
                )
            ),
        ),
        "operator (eq, gt, ...)",
    )
    negation = either(fmap(lambda _: True, attempt(right(string("not"), _dot))), pure(False))
    return bind(negation, lambda negated: fmap(lambda found: _negate(found, negated=negated), operation))


def _negate(operation: Operation, *, negated: bool) -> Operation:
    return Operation(operation.operator, operation.values, negated, operation.quantifier, operation.language)


_filter_operation = _operation(_join(many(satisfy(lambda _: True))))
_tree_path = chain(sep_by1(_field_name, _dot), optional(_json_path, []))

_array_literal = _join(chain(string("{"), _join(many(none_of("{}"))), string("}")))
_logic_value = either(
    attempt(left(_quoted_value, not_followed_by(none_of(",)")))),
    attempt(_array_literal),
    _join(many(none_of(",)"))),
)
_logic_operation = _operation(_logic_value)
_logic_filter = fmap(lambda parts: Filter(parts[0], parts[2]), chain(_field, _dot, _logic_operation))
_logic_negation = named(
    either(fmap(lambda _: True, attempt(right(string("not"), _dot))), pure(False)), "negation operator (not)"
)
_logic_operator = named(either(attempt(string("and")), string("or")), "logic operator (and, or)")
_logic_tree: Parser[Condition] = either(
    attempt(_logic_filter),
    fmap(
        lambda parts: Logic(parts[1], parts[0], tuple(parts[2])),
        chain(
            _logic_negation,
            _logic_operator,
            between(
                _lexeme(char("(")),
                _lexeme(char(")")),
                sep_by1(lazy(lambda: _logic_tree), _lexeme(char(","))),
            ),
        ),
    ),
)

# ----------------------------------------------------------------------------------------------------------- order

_direction = optional(either(attempt(right(_dot, string("asc"))), attempt(right(_dot, string("desc")))), None)
_nulls = either(
    fmap(lambda _: "first", attempt(right(_dot, string("nullsfirst")))),
    fmap(lambda _: "last", attempt(right(_dot, string("nullslast")))),
)
_order_end = either(attempt(look_ahead(char(","))), attempt(end))
_null_order = either(left(optional(_nulls, None), _order_end), fmap(lambda _: None, _order_end))
_order_term = fmap(lambda parts: OrderTerm(parts[0], parts[1], parts[2]), chain(_field, _direction, _null_order))
_related_order_term = fmap(
    lambda parts: OrderTerm(parts[1], parts[2], parts[3], relation=parts[0]),
    chain(_field_name, between(char("("), char(")"), _field), _direction, _null_order),
)
_order: Parser[list[OrderTerm]] = sep_by1(_lexeme(either(attempt(_related_order_term), _order_term)), char(","))

_columns = sep_by1(_field_name, _lexeme(char(",")))


def _parse(parser: Parser[T], what: str, text: str, parsed: str | None = None) -> T:
    try:
        return parse(parser, text if parsed is None else parsed)
    except ParseError as error:
        message = f'"failed to parse {what} ({text})" (line 1, column {error.column})'
        raise parse_error(message, error.description) from None


@lru_cache(maxsize=1024)
def parse_select(text: str) -> tuple[SelectItem, ...]:
    """Parse the value of `select`. Raises `ApiError` PGRST100, as all functions here do."""
    items = _parse(_select, "select parameter", text)
    return tuple(items)


# Nearly every filter is one of these, and takes a value of its own each time: no use to cache, slow to parse.
_PLAIN_FILTER = re.compile(r"(not\.)?(eq|neq|gte|gt|lte|lt|like|ilike|cs|cd|ov)\.(.*)", re.DOTALL)


def parse_operation(text: str) -> Operation:
    """Parse the value of a filter: `not.eq.5`, `in.(a,b)`, …"""
    if plain := _PLAIN_FILTER.fullmatch(text):
        return Operation(plain[2], (plain[3],), negated=plain[1] is not None)
    return _parse(_filter_operation, "filter", text)


def parse_operation_or_argument(text: str) -> Operation | None:
    """Parse a parameter's value in a call by GET: None when it is no filter but an argument of the function."""
    if plain := _PLAIN_FILTER.fullmatch(text):
        return Operation(plain[2], (plain[3],), negated=plain[1] is not None)
    operation: Operation | None = _parse(either(_filter_operation, pure(None)), "filter", text)
    return operation


@lru_cache(maxsize=1024)
def parse_tree_path(text: str) -> tuple[EmbedPath, Field]:
    """Parse the name of a parameter: the embedded resources on the way, then the field."""
    names, path = _parse(_tree_path, "tree path", text)
    return tuple(names[:-1]), Field(names[-1], tuple(path))


@lru_cache(maxsize=1024)
def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """Parse the value of `order`."""
    terms = _parse(_order, "order", text)
    return tuple(terms)


@lru_cache(maxsize=1024)
def parse_logic(name: str, value: str) -> tuple[EmbedPath, Condition]:
    """Parse a parameter like `orders.not.or=(…)`."""
    names: list[str] = _parse(sep_by1(_field_name, _dot), "logic path", name)
    operator = f"not.{names[-1]}" if "not" in names else names[-1]
    tree = _parse(_logic_tree, "logic tree", value, operator + value)
    return tuple(step for step in names[:-1] if step != "not"), tree


@lru_cache(maxsize=1024)
def parse_columns(text: str, what: str = "columns") -> tuple[str, ...]:
    """Parse the value of `columns` or `on_conflict`: a list of names."""
    names = _parse(_columns, f"{what} parameter", text)
    return tuple(names)
