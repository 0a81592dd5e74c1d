import ast
import inspect
import sys
from types import FunctionType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3memo import codec
from s3memo.cli import analysis
from s3memo.cli.analysis import analyze

SOURCE = b'''\
"""A docstring
of two lines."""

# alone
class Box:
    def open(self, key):  # beside code
        if key and self.lock or key == "master":

            return [part for part in self.parts if part]

        def shut(): return 1 if key else 2
'''


def test_lines_are_code_comment_or_blank() -> None:
    assert analyze(SOURCE)["lines"] == {"code": 7, "comment": 1, "blank": 3}


def test_tokens_are_counted_by_kind_without_layout() -> None:
    assert analyze(b"x = 1  # one\nif x:\n    y = 'two'\n")["tokens"] == {
        "NAME": 4,
        "OP": 3,
        "NUMBER": 1,
        "COMMENT": 1,
        "STRING": 1,
    }


def test_identifiers_are_names_that_are_no_keywords() -> None:
    assert analyze(b"for x in y:\n    x = x or None\n")["identifiers"] == {"x": 3, "y": 1}


def test_functions_come_in_the_order_of_the_source_with_their_qualified_names() -> None:
    assert analyze(SOURCE)["functions"] == [("Box.open", 6, 6), ("Box.open.shut", 11, 2)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("for a in b: pass\nelse: pass", 2),
        ("while a: pass", 2),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass\nfinally: pass", 3),
        ("with a as b: pass", 1),
        ("assert a", 2),
        ("return a if b else c", 2),
        ("return a and b and c", 3),
        ("return a and b or c", 3),
        ("return [a for a in b for c in a if c if a]", 5),
        ("return lambda: a or b", 2),
        ("match a:\n    case 1: pass\n    case 2 if b: pass\n    case _: pass", 4),
        ("match a:\n    case [x, *_]: pass\n    case b if b: pass", 4),
        ("def inner():\n    if a: pass", 1),
        ("class Inner:\n    if a: x = 1", 2),
        ("async def inner(): pass\nasync def other():\n    async for a in b: pass", 1),
    ],
)
def test_complexity_is_decision_points_plus_one(body: str, expected: int) -> None:
    indented = body.replace("\n", "\n    ")
    (name, line, complexity), *_ = analyze(f"def f():\n    {indented}\n".encode())["functions"]
    assert (name, line, complexity) == ("f", 1, expected)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"print 'hello'\n", "not valid Python: Missing parentheses"),
        (b"x = (\n", "not valid Python: '(' was never closed"),
        (b"# coding: nonsense\n", "not valid Python: unknown encoding: nonsense"),
        (b"x = '\xff'\n", "not valid Python: "),
        (b"x = 1\0", "not valid Python: source code string cannot contain null bytes"),
    ],
)
def test_what_is_not_python_is_a_result_that_says_why(source: bytes, problem: str) -> None:
    result = analyze(source)
    assert result.keys() == {"problem"}
    assert result["problem"].startswith(problem)


def test_what_the_parser_warns_of_is_not_shown() -> None:
    assert "problem" not in analyze(b"x = '\\d'\ny = 1 is 1\n")  # warnings are errors here


def test_deep_nesting_costs_no_stack() -> None:
    depth = 90
    nested = "".join(" " * level + "if a:\n" for level in range(depth)) + " " * depth + "pass\n"
    source = "def f():\n" + "".join(f" {line}\n" for line in nested.splitlines())
    assert analyze(source.encode())["functions"] == [("f", 1, depth + 1)]


@given(st.text(alphabet="abcif:=#'\"()\\ \n\t\r\f0µ€", max_size=60).map(str.encode) | st.binary(max_size=40))
@example(b"\r")
@example(b"\xef\xbb\xbf# bom\n")
def test_any_bytes_have_a_result_that_can_be_stored_exactly(source: bytes) -> None:
    result = analyze(source)
    assert codec.decode(b"".join(codec.encode(result))) == result
    if "problem" not in result:
        assert sum(result["lines"].values()) == len(source.splitlines())
        assert min(result["lines"].values()) >= 0


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_every_line_is_counted_once(code: int, comment: int, blank: int) -> None:
    source = b"x = 1  # both\n" * code + b"  # alone\n" * comment + b" \n" * blank
    assert analyze(source)["lines"] == {"code": code, "comment": comment, "blank": blank}


def test_everything_that_decides_the_result_is_listed() -> None:
    used = [
        value
        for value in vars(analysis).values()
        if isinstance(value, FunctionType) and inspect.getmodule(value) is analysis and value is not analyze
    ]
    assert set(used) <= set(analysis.PARTS)
    assert sys.version_info[:2] in analysis.PARTS
    constants = {name for name in vars(analysis) if name.isupper()} - {"PARTS"}
    assert all(getattr(analysis, name) in analysis.PARTS for name in constants)


def test_it_reads_a_real_module() -> None:
    source = inspect.getsource(ast).encode()
    found = {name: complexity for name, _, complexity in analyze(source)["functions"]}
    assert found["walk"] == 2  # one loop
    assert found["iter_child_nodes"] == 6  # two loops, three ifs
