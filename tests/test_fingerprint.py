from __future__ import annotations

import copy
import functools
import importlib.util
import io
import itertools
import keyword
import linecache
import py_compile
import re
import sys
import textwrap
import threading
import tokenize
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3memo.canonical import qualified_name
from s3memo.errors import KeyDerivationError, SettingsError
from s3memo.fingerprint import CodeTag, namespace_of, source, tag_of
from s3memo.keys import digest_of
from tests.samples import interpreters, values

_serial = itertools.count()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """Import a source text as a module of its own."""

    def load(text: str) -> types.ModuleType:
        path = tmp_path / f"module{next(_serial)}.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        module = _import(path)
        monkeypatch.setitem(sys.modules, "jobs", module)
        return module

    return load


def _import(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("jobs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bytecode_only(text: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "jobs"}
    exec(textwrap.dedent(text), namespace)
    return namespace["f"]


Load = Callable[[str], types.ModuleType]

BASE = """
def f(x, *rest, n=3, **options):
    total = sum(rest) + n
    def inner(y):
        return f"{y:>{n}} of {total}"
    if x > 1 and not options:
        assert total != 7, "seven"
        return [inner(i) for i in range(x)]
    return {"a": -1, "b": x.y[1:2]}
"""


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("\n    ", "\n\n        # a comment\n        ").replace("+", "  +  "),
        BASE.replace("x, *rest", "x: 'int', *rest: str").replace("):\n    total", ") -> list[str]:\n    total"),
        BASE.replace("total = sum", '"""What it does."""\n    total = sum'),
        BASE.replace("total = sum", "total: int = sum"),
        BASE.replace("inner(y)", "inner(y: int) -> str").replace("return f", "'Inner.'\n        return f"),
        BASE.replace("n=3", "n=0x3").replace('"a"', "'a'").replace('"b"', 'u"b"'),
        BASE.replace('f"{y:>{n}} of {total}"', 'f"{y:>{n}}" " of " f"{total}"'),
        "import functools\n\n\n@functools.cache\n" + BASE.lstrip(),
        BASE.replace("def f", "def other"),
        "class Service:\n" + textwrap.indent(BASE, "    "),
    ],
)
def test_what_python_does_not_run_does_not_count(load: Load, text: str) -> None:
    base, changed = load(BASE).f, load(text)
    function = getattr(getattr(changed, "Service", changed), "other" if "def other" in text else "f")
    assert tag_of(getattr(function, "__wrapped__", function)) == tag_of(base)


def _mutations(text: str) -> list[str]:
    """Return the text with each of its tokens replaced in turn by another of its kind."""
    others = {"+": "-", ">": "<", "!=": "==", "-": "+", "and": "or", "not": "", "if": "while", "return": "yield"}
    mutated = []
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match token.type:
            case tokenize.NAME if not keyword.iskeyword(token.string) and token.string != "f":
                other = token.string + "_"
            case tokenize.NUMBER:
                other = token.string + "9"
            case tokenize.STRING:
                other = token.string[:-1] + "_" + token.string[-1]
            case _:
                other = others.get(token.string, token.string)
        (row, start), (_, end) = token.start, token.end
        if other != token.string:
            changed = [*lines[: row - 1], lines[row - 1][:start] + other + lines[row - 1][end:], *lines[row:]]
            mutated.append("".join(changed))
    return mutated


def test_whatever_changes_what_a_function_does_changes_its_tag(load: Load) -> None:
    texts = [BASE, *_mutations(BASE)]
    texts += [
        BASE.replace(":>", ":<"),
        BASE.replace("{y", "{y!r"),
        BASE.replace("of ", "in "),
        "async " + BASE.lstrip(),
    ]
    texts += [BASE.replace("x > 1 and", "x > 1.0 and"), BASE.replace("x > 1 and", "x > True and")]
    compiled = []
    for text in dict.fromkeys(texts):
        try:
            compile(text, "text", "exec")
        except SyntaxError:
            continue
        compiled.append(text)
    assert len(compiled) > 40
    assert len({tag_of(load(text).f) for text in compiled}) == len(compiled)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (
            "def f():\n    class C:\n        x: int\n    return C",
            "def f():\n    class C:\n        x: str\n    return C",
        ),
        ("def f():\n    @g\n    def h(x: int): ...", "def f():\n    @g\n    def h(x: str): ...\n"),
        ("def f():\n    @g\n    def h():\n        'a'", "def f():\n    @g\n    def h():\n        'b'"),
        ("def f():\n    x: int\n    return x", "def f():\n    return x"),
        ("def f():\n    return None", "def f():\n    return ..."),
        ("def f():\n    return 1.0", "def f():\n    return 1"),
        ("def f():\n    return [a, [b]]", "def f():\n    return [[a], b]"),
        ("def f():\n    return '', 'a'", "def f():\n    return 'a', ''"),
        ("def f(a, b=1): ...", "def f(a, *, b=1): ..."),
        ("def f(a, b): ...", "def f(a, /, b): ..."),
        ("def f(): return f'{a}b'", "def f(): return f'{a}{b}'"),
    ],
)
def test_these_differ(load: Load, text: str, changed: str) -> None:
    assert tag_of(load(text).f) != tag_of(load(changed).f)


def test_a_function_of_deep_expressions_has_a_tag(load: Load) -> None:
    text = f"def f(x):\n    return {' + '.join(['x'] * 1500)}"
    assert tag_of(load(text).f) != tag_of(load(text + " + x").f)


def test_lambdas_on_one_line_are_told_apart(load: Load) -> None:
    module = load("fs = [lambda x: x + 1, lambda x: x + 2, lambda x: (lambda y: x + y), lambda a, b: a if b else (b)]")
    apart = load(
        "fs = [\n    lambda x: x + 1,\n    lambda x: x + 2,\n    lambda x: lambda y: x+y,\n    lambda a, b: a if b else b]"
    )
    assert [tag_of(f) for f in module.fs] == [tag_of(f) for f in apart.fs]
    assert len({tag_of(f) for f in [*module.fs, module.fs[2](1)]}) == 5


def test_constant_lambdas_on_one_line_are_told_apart(load: Load) -> None:
    assert len({tag_of(f) for f in load("fs = [lambda: 1, lambda: 2, lambda: True, lambda: 1.0]").fs}) == 4


def test_a_closure_counts_by_value(load: Load) -> None:
    make = load("def make(n):\n    def f(x):\n        return x + n\n    return f").make
    assert tag_of(make(1)) == tag_of(make(1))
    assert (
        len({tag_of(make(n)) for n in (1, 2, 1.0, True, "1", [1], values.scale, values.adder(1), values.adder(2))}) == 9
    )
    assert len({tag_of(make(n)) for n in (types, itertools)}) == 2


def test_a_closure_that_refers_to_itself_has_a_tag(load: Load) -> None:
    text = """
    def make(last):
        def f(n):
            return n and f(n - 1)
        def even(n):
            return n == 0 or odd(n - 1)
        def odd(n):
            return n != last and even(n - 1)
        return f, even, odd
    """
    module = load(text)
    tags = [tag_of(f) for f in module.make(0)]
    assert len(set(tags)) == 3
    assert [tag_of(f) for f in load(text).make(0)] == tags
    assert [a == b for a, b in zip(tags, map(tag_of, module.make(1)), strict=True)] == [True, False, False]


def test_functions_that_all_refer_to_each_other_are_each_written_once(load: Load) -> None:
    names = [f"f{n}" for n in range(20)]
    body = " + ".join(f"{name}(x)" for name in names)
    text = "def make():\n" + "".join(f"    def {name}(x): return {body}\n" for name in names) + "    return f0"
    tag = tag_of(load(text).make())
    assert tag == tag_of(load(text).make()) != tag_of(load(text.replace("f0(x) + f1(x)", "f1(x) + f0(x)")).make())


def test_which_function_a_function_refers_to_twice_counts(load: Load) -> None:
    text = "def make(a, b, c):\n    def f(): return a, b, c\n    return f\ndef g(): ...\ndef h(): ...\n"
    module = load(text)
    held = itertools.product((module.g, module.h, [module.g, module.h, module.g], {1: module.h, 2: module.g}), repeat=3)
    tags = [tag_of(module.make(*values)) for values in held]
    assert len(set(tags)) == 4**3
    assert tag_of(module.make({1: module.g, 2: module.h}, {module.g, module.h}, 1)) == tag_of(
        module.make({2: module.h, 1: module.g}, {module.h, module.g}, 1)
    )
    assert digest_of([module.g, module.g]) == digest_of([module.g, load(text).g])


@pytest.mark.parametrize("read", ["__annotations__['x']", "__doc__"])
def test_what_a_decorator_may_read_of_a_function_counts(load: Load, read: str) -> None:
    text = f"""
    import functools
    def reading(function):
        @functools.wraps(function)
        def wrapper(x): return function.{read}
        return wrapper
    @reading
    def f(x: int):
        "What it does."
        return x
    def g(x: int): return x
    """
    changes = [("x: int):\n", "x: float):\n"), ("What", "How"), ("x: int): return", "x: float): return")]
    base = load(text)
    for (old, new), changed in zip(changes, (True, True, False), strict=True):
        module = load(text.replace(old, new))
        assert (tag_of(module.f) != tag_of(base.f)) is changed
        assert (tag_of(module.g, depends=(module.f,)) != tag_of(base.g, depends=(base.f,))) is changed


def test_a_function_by_type_counts_with_what_is_registered(load: Load) -> None:
    text = "import functools\n@functools.singledispatch\ndef g(x): return 0\ndef f(x): return g(x)\n"
    more = "@g.register\ndef _(x: int): return 1\n"
    versions = [text, text + more, text + more.replace("1", "2"), text.replace("0", "3")]
    tags = [(tag_of(m.g), tag_of(m.f, depends=(m.g,)), tag_of(m.f, key=m.g)) for m in map(load, versions * 2)]
    assert tags[:4] == tags[4:]
    assert len({tag for three in tags for tag in three}) == 12
    module = load(versions[1])
    tag = CodeTag(module.g)
    before = tag.current()
    module.g(1)  # which fills its cache
    assert tag.current() == before
    module.g.register(str, len)
    assert tag.current() != before


def test_what_python_keeps_in_private_modules_goes_by_its_public_name(monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = types.ModuleType("json"), types.ModuleType("json._local")
    shown, hidden = (type(name, (), {"__module__": "json._local"}) for name in ("Shown", "Hidden"))
    vars(public)["Shown"] = vars(private)["Shown"] = shown
    vars(private)["Hidden"] = hidden
    monkeypatch.setitem(sys.modules, "json", public)
    monkeypatch.setitem(sys.modules, "json._local", private)
    assert [qualified_name(kind) for kind in (shown, hidden)] == ["json:Shown", "json._local:Hidden"]


def test_functions_and_classes_have_keys_whatever_was_imported() -> None:
    program = "from s3memo.keys import digest_of; print(digest_of(print), digest_of(int))"
    assert interpreters.run("-c", program).split() == [digest_of(print), digest_of(int)]


def test_a_cell_that_is_empty_yet_is_no_error(load: Load) -> None:
    text = "def make():\n    def f(): return later\n    tags.append(tag_of(f))\n    later = None\n    tags.append(tag_of(f))"
    module = load("tags = []\nfrom s3memo.fingerprint import tag_of\n" + text)
    module.make()
    assert len(set(module.tags)) == 2


def test_a_method_that_calls_super_has_one_tag_before_and_after_its_class_exists(load: Load) -> None:
    module = load(
        "from s3memo.fingerprint import tag_of\nclass C:\n    def f(self): return super().f()\n    before = tag_of(f)"
    )
    assert tag_of(module.C.f) == module.C.before


def test_a_cell_without_a_key_is_named(load: Load) -> None:
    lock = threading.Lock()
    f = load("def make(lock):\n    def f(): return lock\n    return f").make([lock])
    with pytest.raises(KeyDerivationError, match=r"make.<locals>.f has no fingerprint: .*closure\.lock\[0\].*version="):
        tag_of(f)
    assert tag_of(f, version=2) == "2"


def test_a_wrapper_counts_with_what_it_wraps(load: Load) -> None:
    text = """
    import functools
    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) * 2
        return wrapper
    @twice
    def f(x):
        return x + 1
    """
    tags = {tag_of(load(version).f) for version in (text, text.replace("* 2", "* 3"), text.replace("+ 1", "+ 2"))}
    assert len(tags) == 3
    assert tag_of(load(text.replace("* 2", "*2  # 2")).f) in tags


@pytest.mark.parametrize(
    "text", ["def f(x: int):\n    return x in {'a', 'b', 'c', 'd'}", "f = lambda x: (x, {1: 'a'})"]
)
def test_where_there_is_no_source_the_bytecode_counts(text: str) -> None:
    function = _bytecode_only(text)
    assert tag_of(function) == tag_of(_bytecode_only("\n\n\n" + text))
    assert tag_of(function) != tag_of(_bytecode_only(text.replace("'a'", "'z'")))
    nested = "def f():\n    def g(): return {}\n    return g"
    assert tag_of(_bytecode_only(nested.format("1"))) != tag_of(_bytecode_only(nested.format("True")))
    assert tag_of(_bytecode_only(nested.format("a.b"))) != tag_of(_bytecode_only(nested.format("a.c")))


def test_bytecode_is_not_salted_by_the_hash_seed() -> None:
    program = (
        "from s3memo.fingerprint import tag_of; d = {}; "
        'exec(\'def f(x): return x in {"a", "b", "c"}, lambda: {"d", "e"}\', d); print(tag_of(d[\'f\']))'
    )
    assert len({interpreters.run("-c", program, seed=seed) for seed in (1, 2, 3)}) == 1


def test_a_compiled_file_alone_is_enough(load: Load, tmp_path: Path) -> None:
    source = tmp_path / "alone.py"
    tags = []
    for body in ("x + 1", "x + 1 ", "x + 2"):
        source.write_text(f"def f(x): return {body}\n", encoding="utf-8")
        compiled = Path(py_compile.compile(str(source), cfile=str(tmp_path / f"alone{len(tags)}.pyc"), doraise=True))
        source.unlink()
        tags.append(tag_of(_import(compiled).f))
    assert tags[0] == tags[1] != tags[2]


def test_source_that_was_edited_after_import_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    path.write_text("def f(x):\n    return x + 1\n", encoding="utf-8")
    before = _import(path).f
    path.write_text("def f(x):\n    return x * 1000\n", encoding="utf-8")
    after = _import(path).f
    assert tag_of(before) != tag_of(after)
    path.unlink()
    assert tag_of(_import_text("def f(x):\n    return x * 1000\n", tmp_path)) == tag_of(after)


def _import_text(text: str, directory: Path) -> Any:
    path = directory / "again.py"
    path.write_text(text, encoding="utf-8")
    return _import(path).f


def test_a_notebooks_cell_counts_by_its_source() -> None:
    def cell(text: str) -> Any:
        name = f"/tmp/ipykernel_1/{next(_serial)}.py"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), namespace)
        return namespace["f"]

    assert tag_of(cell("def f(x):\n    return x\n")) == tag_of(cell("x = 1\ndef f(x):  # same\n    return x\n"))
    assert namespace_of(cell("def f(x):\n    return x\n")) == "__main__.f"


def test_optimized_python_has_the_same_tags(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "from s3memo.fingerprint import tag_of\n"
        f"{BASE}\nif __name__ == '__main__':\n    print(tag_of(f), tag_of(lambda x: x))\n",
        encoding="utf-8",
    )
    job = tmp_path / "job.py"
    assert interpreters.run(job) == interpreters.run("-O", job) == interpreters.run("-OO", "-W", "error", job)


def test_depends_count_with_their_code_and_value(load: Load) -> None:
    text = "def f(x): return x\ndef g(x): return x + 1\nclass A:\n    x = 1\nclass B(A):\n    y = 1\n"

    def tags(text: str, *names: str) -> list[str]:
        module = load(text)
        return [tag_of(module.f, depends=[getattr(module, name)]) for name in names]

    base = tags(text, "g", "A", "B")
    assert tags(text.replace("(x): ", "(x):  # same\n    ").replace("A:\n", "A:\n\n"), "g", "A", "B") == base
    changed = [tags(text.replace("+ 1", "+ 2"), "g"), tags(text.replace("x = 1", "x = 2"), "A", "B")]
    f, g = load(text).f, load(text).g
    others = [(), (1,), (True,), ({"a", "b"},), ([g],), (g, g), (textwrap.dedent,), (textwrap.indent,)]
    distinct = [*base, *itertools.chain(*changed), *(tag_of(f, depends=items) for items in others)]
    assert len(set(distinct)) == len(distinct)


def test_a_cached_function_can_be_depended_on(load: Load) -> None:
    text = "import functools\n@functools.cache\ndef g(x): return x + 1\ndef f(): ..."
    module, changed = load(text), load(text.replace("+ 1", "+ 2"))
    assert tag_of(module.f, depends=(module.g,)) != tag_of(module.f, depends=(changed.g,))


@pytest.mark.parametrize(
    ("depends", "said"),
    [
        ((1, types), r"depends\[1\], of type module"),
        ((int,), r"depends\[0\]: the source of the class int is not found"),
        ((type("Local", (), {"__qualname__": "make.<locals>.Local"}),), r"depends\[0\]: .*made inside a function"),
    ],
)
def test_a_wrong_item_of_depends_is_named(depends: tuple[Any, ...], said: str) -> None:
    with pytest.raises(KeyDerivationError, match=said):
        tag_of(values.scale, depends=depends)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"version": ""}, "version=''"),
        ({"version": 1.5}, "whole number or a string"),
        ({"version": True}, "version=True"),
        ({"code": "sourc"}, "choose one of 'source', 'deep', 'off'"),
        ({"depends": values.scale}, "tuple or list"),
        ({"depends": {1, 2}}, "tuple or list"),
        ({"depends": "helper"}, "tuple or list"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tag_of(values.scale, **options)


def test_version_and_off_replace_the_fingerprint() -> None:
    assert tag_of(len, version="2026-01") == "2026-01"
    assert tag_of(len, version=3) == "3"
    assert tag_of(len, code="off") == "0"


def test_what_has_no_source_asks_for_a_version() -> None:
    class Callable_:  # noqa: N801
        def __call__(self) -> None: ...

    for function in (len, Callable_()):
        with pytest.raises(SettingsError, match="has no source: give version="):
            tag_of(function)


def test_partials_and_methods_count_with_what_they_are_bound_to() -> None:
    bound = [functools.partial(values.scale, by=n) for n in (1, 2)] + [values.Model([n]).predict for n in (1, 2)]
    assert len({tag_of(function) for function in bound}) == 4


def test_functions_as_arguments_count_by_name_code_closure_and_defaults(load: Load) -> None:
    functions = load(
        """
        def g(x): return x
        def h(x): return x
        def make(n):
            def inner(x, y=n): return x
            return inner
        def keep(n):
            return lambda x: x + n
        """
    )
    changed = load("def g(x): return x + 1")
    different = [functions.g, functions.h, changed.g, *map(functions.make, (1, 2)), *map(functions.keep, (1, 2))]
    assert len({digest_of(function) for function in different}) == len(different)
    assert digest_of(functions.g) == digest_of(load("def g(x): return (x)  # same").g)


def test_an_installed_function_counts_by_its_name_and_a_users_wrapper_of_it_by_its_code() -> None:
    @functools.wraps(textwrap.dedent)
    def wrapper(text: str) -> str:
        return text

    installed = [textwrap.dedent, textwrap.indent, re.compile, pytest.fixture, len, str.upper, int.__add__, "a".upper]
    installed += ["b".upper, textwrap.TextWrapper, Path, int, functools.cache(textwrap.dedent), wrapper]
    assert len({digest_of(function) for function in installed}) == len(installed)


@pytest.mark.parametrize(
    "decorator", ["contextlib.contextmanager", "functools.cache", "functools.singledispatch", "late"]
)
def test_a_users_function_under_a_decorator_of_pythons_own_counts_with_its_code(load: Load, decorator: str) -> None:
    text = f"import contextlib, functools\nlate = lambda f: functools.partial(f)\n@{decorator}\ndef g(x): yield 1"
    assert digest_of(load(text).g) == digest_of(load(text).g) != digest_of(load(text.replace("1", "2")).g)


def test_classes_as_arguments_count_by_name_code_and_bases(load: Load) -> None:
    text = "class A:\n    '''Read by others.'''\n    x: int = 1\n    def f(self): return 1\nclass B(A): ..."
    changes = [("", ""), ("1\n", "2\n"), ("int", "str"), ("Read", "Seen"), ("return 1", "return 2")]

    def digests(text: str) -> list[str]:
        module = load(text)
        return [digest_of(module.A), digest_of(module.B)]

    assert len({digest for change in changes for digest in digests(text.replace(*change))}) == 2 * len(changes)
    assert digests(text.replace("self): ", "self):  # same\n        ")) == digests(text)


CLASSES = """
import dataclasses, enum
def later(self): return 1
def with_method(n):
    def decorate(cls):
        cls.decorated = lambda self: n
        return cls
    return decorate
class Other: ...
class Plain:
    items = [1]
    def run(self): return 1
class Derived(Plain): ...
@with_method(3)
class Decorated: ...
@dataclasses.dataclass(slots=True)
class Record:
    x: int = 4
    y: list = dataclasses.field(default_factory=lambda: [5])
class Kind(enum.Enum):
    A = [6]
"""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Plain", "Plain.items = [2]"),
        ("Plain", "Plain.items.append(2)"),
        ("Plain", "Plain.run = lambda self: 2"),
        ("Plain", "Plain.run = later"),
        ("Plain", "Plain.added = later"),
        ("Plain", "Plain.__call__ = later"),
        ("Derived", "Plain.items = [2]"),
        ("Derived", "Plain.run = later"),
        ("Derived", "Derived.__bases__ = (Other,)"),
        ("Kind", "Kind.A._value_.append(7)"),
    ],
)
def test_a_class_that_is_changed_after_it_was_made_counts_as_it_is(load: Load, name: str, change: str) -> None:
    module = load(CLASSES + "def f(): ...")
    tag, before = CodeTag(module.f, depends=(vars(module)[name],)), digest_of(vars(module)[name])
    listed = tag.current()
    assert tag.current() == listed
    exec(change, vars(module))
    assert digest_of(vars(module)[name]) != before
    assert tag.current() != listed


@pytest.mark.parametrize(("name", "old"), [("Plain", "[1]"), ("Decorated", "(3)"), ("Record", "4"), ("Record", "[5]")])
def test_a_class_whose_text_was_edited_after_import_is_not_taken_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str
) -> None:
    path = tmp_path / "edited.py"
    path.write_text(CLASSES, encoding="utf-8")
    before = _import(path)
    path.write_text(CLASSES.replace(old, f"{old[:-1]}0{old[-1:]}" if old[0] in "[(" else "40"), encoding="utf-8")
    after = _import(path)
    digests = []
    for module in (before, after):
        monkeypatch.setitem(sys.modules, "jobs", module)
        digests.append(digest_of(vars(module)[name]))
    assert digests[0] != digests[1]


def test_what_has_no_key_in_a_class_is_named(load: Load) -> None:
    module = load("import logging\nclass A:\n    log = logging.getLogger()\n    state = [iter(())]")
    with pytest.raises(KeyDerivationError, match=r"made of A\.state\[0\], of type tuple_iterator"):
        digest_of(module.A)
    del module.A.state
    assert digest_of(module.A)


def test_a_class_whose_source_was_edited_after_import_counts_by_its_methods(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    path.write_text("class A:\n    def f(self): return 1\n", encoding="utf-8")
    before = _import(path).A
    path.write_text("class A:\n    def f(self): return 1000\n", encoding="utf-8")
    assert digest_of(before) != digest_of(_import(path).A)


def test_a_class_without_methods_that_was_edited_after_import_counts_by_its_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edited.py"
    text = "import enum\nclass A:\n    x = 1\nclass B(enum.Enum):\n    X = 1\n"
    path.write_text(text, encoding="utf-8")
    before = _import(path)
    path.write_text(text.replace("= 1", "= 1000"), encoding="utf-8")
    after = _import(path)
    digests = []
    for module in (before, after):
        monkeypatch.setitem(sys.modules, "jobs", module)
        digests += [digest_of(module.A), digest_of(module.B)]
    assert len(set(digests)) == 4


def test_classes_made_by_a_call_count_by_what_they_were_made_of(load: Load) -> None:
    texts = ["namedtuple('A', 'x y')", "namedtuple('A', 'y x')", "namedtuple('A', 'x y', defaults=[1])"]
    texts += ["namedtuple('A', 'x y', defaults=[2])", "Enum('A', 'x y')", "Enum('A', 'y x')", "IntFlag('A', 'x y')"]
    texts += ["namedtuple('A', 'x y', defaults=[[1]])", "Enum('A', {'x': []})", "Enum('A', {'x': [1]})"]
    digests = [
        digest_of(load(f"from collections import namedtuple\nfrom enum import Enum, IntFlag\nA = {text}").A)
        for text in texts * 2
    ]
    assert digests[: len(texts)] == digests[len(texts) :]
    assert len(set(digests)) == len(texts)
    with pytest.raises(KeyDerivationError, match="the source of the class A is not found"):
        digest_of(load("A = type('A', (), {'x': 1})").A)


def test_type_expressions_count_by_their_parts() -> None:
    expressions = [
        list[int], typing.List[int], list[str], int | str, str | int, typing.Optional[int],  # noqa: UP006, UP045
        typing.Union[int, str], typing.Literal[1], typing.Literal[True], typing.Callable[[int], str],  # noqa: UP007
        typing.Callable[..., str], typing.Any, typing.Annotated[int, 1], typing.Annotated[int, 2], typing.Literal,
        typing.Union, typing.ForwardRef("int"), typing.TypeVar("T"), typing.TypeVar("U"), typing.NewType("N", int),
        typing.TypeVar("T", bound=int), typing.NewType("N", str), typing.ParamSpec("T"), typing.TypeVarTuple("T"),
        dict[str, list[int]], type(None), types.FunctionType,
    ]  # fmt: skip
    assert len({digest_of(expression) for expression in expressions}) == len(expressions)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_are_no_hindrance(load: Load) -> None:
    text = """
    type Pair = tuple[int, {0}]
    def f[T: int](x: T) -> T:
        def g[U](y: U): return y
        return g[T](x), T, Pair
    class Box[T]:
        def m(self, x: T): return T
    """
    module, changed = load(text.format("int")), load(text.format("str"))
    assert tag_of(module.f) == tag_of(load(text.format("int")).f)
    for code, options in (("deep", {}), ("source", {"depends": (module.Box,)})):
        assert tag_of(module.f, code=code, **options) == tag_of(module.f, code=code, **options)
    assert tag_of(changed.f, code="deep") != tag_of(module.f, code="deep")
    assert tag_of(changed.f) == tag_of(module.f)


def test_a_class_made_in_a_function_has_no_key_as_an_argument() -> None:
    class Local: ...

    with pytest.raises(KeyDerivationError, match="made inside a function"):
        digest_of(Local)


def test_a_namespace_is_module_and_name_unless_given() -> None:
    assert namespace_of(values.scale) == "tests.samples.values.scale"
    assert namespace_of(values.Model.predict) == "tests.samples.values.Model.predict"
    assert namespace_of(values.scale, "billing") == "billing"
    for name in ("", 3):
        with pytest.raises(SettingsError, match="name="):
            namespace_of(values.scale, name)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="give name="):
        namespace_of(functools.partial(values.scale))


def test_what_no_fingerprint_tells_apart_needs_a_name() -> None:
    assert namespace_of(values.scale, fingerprinted=False) == "tests.samples.values.scale"
    for function in (values.adder(1), values.VALUES[-1], _bytecode_only("__name__ = '__main__'\ndef f(): ...")):
        with pytest.raises(SettingsError, match="give name="):
            namespace_of(function, fingerprinted=False)
        assert namespace_of(function, "mine", fingerprinted=False) == "mine"


SCRIPT = """
import functools
import multiprocessing
import sys
from s3memo.errors import SettingsError
from s3memo.fingerprint import namespace_of, tag_of

def load(x): return x

@functools.singledispatch
def wrapped(x): return x

def identity():
    try:
        free = namespace_of(load, fingerprinted=False), namespace_of(wrapped, fingerprinted=False)
    except SettingsError:
        free = "refused", namespace_of(wrapped)
    return namespace_of(load), *free, tag_of(load)

if __name__ == "__main__":
    print(*identity())
    if "spawn" in sys.argv:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(*pool.apply(identity))
"""


def test_the_main_module_goes_by_its_own_name(tmp_path: Path) -> None:
    for name in ("first.py", "second.py", "package/module.py", "package/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SCRIPT if "__init__" not in name else "", encoding="utf-8")
    here, spawned = interpreters.run("first.py", "spawn", cwd=tmp_path).split("\n")[:2]
    *names, tag = here.split()
    assert names == ["first.load", "refused", "first.wrapped"]
    assert spawned == here
    assert interpreters.run("second.py", cwd=tmp_path).split() == ["second.load", "refused", "second.wrapped", tag]
    run = interpreters.run("-m", "package.module", cwd=tmp_path)
    imported = interpreters.run("-c", "import package.module; print(*package.module.identity())", cwd=tmp_path)
    assert run == imported == f"package.module.load package.module.load package.module.wrapped {tag}\n"


def test_a_class_is_the_same_after_an_instance_was_copied(load: Load) -> None:
    cls = load("class C:\n    def m(self): return 1").C
    before = digest_of(cls)
    copy.copy(cls())
    assert "__slotnames__" in vars(cls)
    assert digest_of(cls) == before


def test_many_threads_may_ask_for_tags_at_once(load: Load) -> None:
    body = "".join(f"    x = [x, {{{number}: (x, lambda y: y + {number})}}][0]\n" for number in range(300))
    modules = [load(f"def f(x):\n{body}    return {number}") for number in range(24)]
    start, tags = threading.Barrier(8), []

    def ask(part: list[Any]) -> None:
        start.wait(60)
        tags.extend(tag_of(module.f) for module in part)

    threads = [threading.Thread(target=ask, args=(modules[number::8],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(tags)) == 24


def test_a_parser_that_other_threads_disturb_is_tried_again_but_not_for_ever(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = load("def f(x): return x").f
    expected, parse, failures = tag_of(function), source._parse, [SystemError("depth mismatch")] * 2

    def disturbed(text: str, flags: int) -> Any:
        if failures:
            raise failures.pop()
        return parse(text, flags)

    source._function_digest.cache_clear()
    monkeypatch.setattr(source, "_parse", disturbed)
    assert tag_of(function) == expected
    source._function_digest.cache_clear()
    failures.extend([SystemError("depth mismatch")] * 1000)
    with pytest.raises(SystemError, match="mismatch"):
        tag_of(function)
