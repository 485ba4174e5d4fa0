"""The grammar of query strings; the errors are those that PostgREST's own source documents, word for word."""

from collections.abc import Callable
from functools import partial

import pytest

from local.supabase.errors import ApiError
from local.supabase.grammar import (
    parse_columns,
    parse_logic,
    parse_operation,
    parse_operation_or_argument,
    parse_order,
    parse_select,
    parse_tree_path,
)
from local.supabase.syntax import (
    Field,
    Filter,
    JsonStep,
    Logic,
    Operation,
    OrderTerm,
    SelectField,
    SelectRelation,
)

END = 'letter, digit, "-", "->>", "->"'


@pytest.mark.parametrize(
    ("parse", "text", "column", "details"),
    [
        (
            parse_select,
            "id,clients(name[])",
            16,
            f"""unexpected '[' expecting {END}, "::", ".", ")", "," or end of input""",
        ),
        (parse_select, "name!hint", 5, f"""unexpected '!' expecting {END}, "::", ".", ")", "," or end of input"""),
        (parse_select, "name::", 7, "unexpected end of input expecting letter or digit"),
        (
            parse_select,
            "id,",
            4,
            'unexpected end of input expecting "...", field name (* or [a..z0..9_$]), "*" or "count()"',
        ),
        (parse_operation, "noop.0", 1, 'unexpected "o" expecting "not" or operator (eq, gt, ...)'),
        (parse_operation, "fts().value", 5, 'unexpected ")" expecting operator (eq, gt, ...)'),
        (parse_operation, "eq().value", 4, 'unexpected ")" expecting operator (eq, gt, ...)'),
        (parse_operation, "is().value", 3, 'unexpected "(" expecting operator (eq, gt, ...)'),
        (parse_operation, "in().value", 3, 'unexpected "(" expecting operator (eq, gt, ...)'),
        (parse_order, "id.ac", 4, 'unexpected "c" expecting "asc", "desc", "nullsfirst" or "nullslast"'),
        (parse_order, "id.descc", 8, "unexpected 'c' expecting delimiter (.), \",\" or end of input"),
        (parse_order, "id.nullslasttt", 13, "unexpected 't' expecting \",\" or end of input"),
        (parse_order, "id.asc.nlsfst", 8, 'unexpected "l" expecting "nullsfirst" or "nullslast"'),
        (parse_order, "clients(name,id)", 8, f"""unexpected '(' expecting {END}, delimiter (.), "," or end of input"""),
        (
            partial(parse_logic, "or"),
            "()",
            4,
            (
                'unexpected ")" expecting field name (* or [a..z0..9_$]), negation operator (not) '
                "or logic operator (and, or)"
            ),
        ),
        (partial(parse_logic, "or"), "(id.in.1,2,id.eq.3)", 10, 'unexpected "1" expecting "("'),
        (partial(parse_logic, "or"), ")(", 3, 'unexpected ")" expecting "("'),
        (partial(parse_logic, "and"), "(ord(id.eq.1,id.eq.1),id.eq.2)", 7, 'unexpected "d" expecting "("'),
        (
            partial(parse_logic, "or"),
            "(id.eq.1,not.xor(id.eq.2))",
            16,
            'unexpected "x" expecting logic operator (and, or)',
        ),
    ],
)
def test_a_parse_error_says_what_parsec_says(
    parse: Callable[[str], object], text: str, column: int, details: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse(text)
    assert caught.value.code == "PGRST100"
    assert caught.value.message.endswith(f'({text})" (line 1, column {column})')
    assert caught.value.details == details


def test_select_reads_aliases_casts_and_json_paths() -> None:
    name = SelectField(Field("name"), alias="label")
    deep = SelectField(
        Field("meta", (JsonStep("->", "items", False), JsonStep("->", "+0", True), JsonStep("->>", "a-b", False))),
        cast="text",
    )
    assert parse_select("label:name,meta->items->0->>a-b::text") == (name, deep)


def test_select_reads_embedded_resources() -> None:
    inner = SelectRelation("items", None, None, inner=False, spread=False, items=(SelectField(Field("*")),))
    assert parse_select("who:profiles!fk!inner(nm:name,items(*))") == (
        SelectRelation(
            "profiles", "who", "fk", inner=True, spread=False, items=(SelectField(Field("name"), alias="nm"), inner)
        ),
    )


def test_an_empty_select_is_none() -> None:
    assert parse_select("") == ()


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("eq.", Operation("eq", ("",))),
        ("not.eq.a.b", Operation("eq", ("a.b",), negated=True)),
        ("eq(any).{1,2}", Operation("eq", ("{1,2}",), quantifier="any")),
        ('in.(ada,"c,d\\"e",)', Operation("in", ("ada", 'c,d"e', ""))),
        ("in.()", Operation("in", ("",))),
        ("not.is.NULL", Operation("is", ("null",), negated=True)),
        ("isdistinct.5", Operation("isdistinct", ("5",))),
        ("fts(english).cat", Operation("fts", ("cat",), language="english")),
        ("like.*a*\nb", Operation("like", ("*a*\nb",))),
    ],
)
def test_a_filter_reads_as(text: str, operation: Operation) -> None:
    assert parse_operation(text) == operation


@pytest.mark.parametrize("value", ["5", "is it so", "eq()", "notable", ""])
def test_in_a_call_what_is_no_filter_is_an_argument(value: str) -> None:
    assert parse_operation_or_argument(value) is None


def test_in_a_call_what_begins_like_a_filter_has_to_be_one() -> None:
    with pytest.raises(ApiError, match="failed to parse filter"):
        parse_operation_or_argument("in.5")


def test_logic_nests_and_knows_its_resource() -> None:
    first = Filter(Field("n"), Operation("eq", ("1",)))
    second = Logic("and", True, (Filter(Field("a"), Operation("in", ("x", "y"))), first))
    assert parse_logic("orders.not.or", "(n.eq.1,not.and(a.in.(x,y),n.eq.1))") == (
        ("orders",),
        Logic("or", True, (first, second)),
    )


def test_order_reads_directions_nulls_and_related_columns() -> None:
    assert parse_order("name.desc.nullslast,who(id),meta->k.asc") == (
        OrderTerm(Field("name"), "desc", "last"),
        OrderTerm(Field("id"), relation="who"),
        OrderTerm(Field("meta", (JsonStep("->", "k", False),)), "asc"),
    )


def test_names_may_be_quoted_or_have_dashes() -> None:
    assert parse_columns('"x,y",kebab-case') == ("x,y", "kebab-case")
    assert parse_tree_path("orders.items.meta->>k") == (
        ("orders", "items"),
        Field("meta", (JsonStep("->>", "k", False),)),
    )
