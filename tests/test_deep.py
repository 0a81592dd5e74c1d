from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3memo.errors import KeyDerivationError
from s3memo.fingerprint import CodeTag, tag_of

Write = Callable[..., Any]

_serial = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files of a package `pipeline` anew, and import it; `f` of its `jobs` is what the tests are about."""

    def write(jobs: str, **modules: str) -> Any:
        forget()
        root = tmp_path / str(next(_serial))
        for name, text in {"__init__": "", "jobs": jobs, **modules}.items():
            path = root / "pipeline" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        monkeypatch.syspath_prepend(root)
        return importlib.import_module("pipeline.jobs")

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
            del sys.modules[name]

    yield write
    forget()


def deep_tag(module: Any, **options: Any) -> str:
    return tag_of(module.f, code="deep", **options)


JOBS = """
import json
from functools import cache, partial
from pipeline import helpers
from pipeline.helpers import clean, Model as M, LIMITS
import pipeline.tables

RATE = 2
OPERATIONS = {"half": lambda x: x / 2, "clean": clean}
third = partial(clean, by=3)

def f(x):
    return helpers.score(x) * RATE + M(x).run(LIMITS["low"]) + pipeline.tables.TABLE[0] + OPERATIONS["half"](x) + g(x)

def g(x):
    "Calls back, in a cycle."
    return f(x - 1) + third(x) + looked_up(x) if x else json.loads("0")

@cache
def looked_up(x):
    return x + 10
"""
HELPERS = """
import threading
LOCK = threading.Lock()
UNUSED = threading.local()
LIMITS = {"low": 1}
FACTOR = 7

def clean(x, by=1):
    return x // by

def score(x):
    with LOCK:
        return x * FACTOR

class Base:
    offset = 4
    def shift(self): return self.offset

class Model(Base):
    def __init__(self, x): self.x = x
    def run(self, low): return self.x + low + self.shift() + bias()

def bias():
    return 100
"""
TABLES = "TABLE = tuple(n * 3 for n in range(3))\nOTHER = 1\n"


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("jobs", "RATE = 2", "RATE = 3"),
        ("jobs", "x / 2", "x / 3"),
        ("jobs", "by=3", "by=4"),
        ("jobs", "x - 1", "x - 2"),
        ("jobs", "x + 10", "x + 11"),
        ("jobs", "import json", "import marshal as json"),
        ("helpers", '"low": 1', '"low": 2'),
        ("helpers", "FACTOR = 7", "FACTOR = 8"),
        ("helpers", "x // by", "x / by"),
        ("helpers", "by=1", "by=2"),
        ("helpers", "x * FACTOR", "x + FACTOR"),
        ("helpers", "offset = 4", "offset = 5"),
        ("helpers", "return self.offset", "return -self.offset"),
        ("helpers", "self.x + low", "self.x - low"),
        ("helpers", "return 100", "return 101"),
        ("tables", "n * 3", "n * 4"),
    ],
)
def test_whatever_a_function_uses_of_its_package_counts(package: Write, module: str, old: str, new: str) -> None:
    texts = {"jobs": JOBS, "helpers": HELPERS, "tables": TABLES}
    base = deep_tag(package(**texts))
    assert old in texts[module]
    assert deep_tag(package(**{**texts, module: texts[module].replace(old, new)})) != base


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("jobs", '"Calls back, in a cycle."', '"""As it was."""  # and so on'),
        ("jobs", "import json\n", "import json\nimport os  # not used\n\n\n"),
        ("helpers", "threading.local()", "object()"),
        ("helpers", "threading.Lock()", "(threading.Lock())"),
        ("helpers", "def clean(x, by=1)", "def clean(x: int, by: int = 1) -> int"),
        ("helpers", "def bias():", "def unused(): ...\n\ndef bias():\n    # a comment"),
        ("tables", "OTHER = 1", "OTHER = 2"),
        ("tables", "n * 3 for n in range(3)", "[0, 3, 6]"),
    ],
)
def test_what_it_does_not_use_does_not_count(package: Write, module: str, old: str, new: str) -> None:
    texts = {"jobs": JOBS, "helpers": HELPERS, "tables": TABLES}
    base = deep_tag(package(**texts))
    assert old in texts[module]
    assert deep_tag(package(**{**texts, module: texts[module].replace(old, new)})) == base


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import threading\nCLIENT = threading.local()\ndef f(): return g()\ndef g(): return CLIENT",
            (
                r"pipeline\.jobs\.f uses pipeline\.jobs\.g, which uses pipeline\.jobs\.CLIENT: no key can be made of pipeline"
                r"\.jobs\.CLIENT, of type _thread\._local.*code=\"source\", with depends=.*version="
            ),
        ),
        ("TABLE = {'a': [1, iter(())]}\ndef f(): return TABLE", r"uses pipeline\.jobs\.TABLE: .*TABLE\['a'\]\[1\]"),
        (
            "class Model:\n    state = iter(())\n    def run(self): ...\ndef f(): return Model().run()",
            r"pipeline\.jobs\.f uses pipeline\.jobs\.Model, which uses pipeline\.jobs\.Model\.state: ",
        ),
        (
            "from pipeline import helpers\ndef f(n): return getattr(helpers, n)",
            r"uses pipeline\.jobs\.helpers, a module",
        ),
        ("def f(n):\n    from pipeline import helpers\n    return vars(helpers)", r"uses pipeline\.helpers, a module"),
        (
            "from pipeline import helpers\nclass C:\n    m = helpers\ndef f(): return C",
            r"uses pipeline\.jobs\.C\.m, a module",
        ),
        ("from pipeline import helpers\nT = {'a': helpers}\ndef f(): return T", r"T\['a'\], of type module"),
        (
            "def make(module):\n    def f(): return dir(module)\n    return f\nfrom pipeline import helpers\nf = make(helpers)",
            "a module",
        ),
        ("def f():\n    import pipeline.broken", r"pipeline\.broken.*ZeroDivisionError"),
        (
            (
                "def make(n):\n    def g(): return eval('n')\n    g.__globals__\n    return g\n"
                "a = type(make)(make(1).__code__, {'__name__': 'pipeline.jobs', 'eval': 1}, None)\n"
                "b = type(make)(make(1).__code__, {'__name__': 'pipeline.jobs', 'eval': 2}, None)\n"
                "def f(): return a() + b()"
            ),
            "two that read alike",
        ),
    ],
)
def test_what_has_no_fingerprint_is_named_with_the_way_to_it(package: Write, text: str, said: str) -> None:
    module = package(text, helpers="def g(): ...", broken="1 / 0")
    with pytest.raises(KeyDerivationError, match=said):
        deep_tag(module)
    assert tag_of(module.f, version=1) == "1"


def test_what_a_function_imports_for_itself_counts(package: Write) -> None:
    jobs = """
    def f(x):
        from pipeline.helpers import one, two as zwei
        from . import relative
        import pipeline.dotted
        import pipeline.aliased as al
        try:
            from pipeline.fast import speedup
        except ImportError:
            speedup = None
        def inner():
            return al.value, relative.value
        return one(), zwei(), pipeline.dotted.value, inner, speedup
    """
    modules = {
        "helpers": "from pipeline.registry import NAMES\nNAMES.append('helpers')\ndef one(): return 1\ndef two(): return 2",
        "relative": "value = 3",
        "dotted": "value = 4",
        "aliased": "value = 5",
        "registry": "NAMES = []",
    }
    texts = {"jobs": jobs, **modules}
    module = package(**texts)
    base = deep_tag(module)
    assert deep_tag(module) == base
    assert deep_tag(package(**texts)) == base
    changes = [("helpers", "return 1"), ("helpers", "return 2"), ("relative", "3"), ("dotted", "4"), ("aliased", "5")]
    tags = {deep_tag(package(**{**texts, name: texts[name].replace(old, old + "9")})) for name, old in changes}
    tags.add(deep_tag(package(**texts, fast="def speedup(): ...")))
    assert len(tags | {base}) == len(changes) + 2


def test_what_a_module_registers_when_a_function_imports_it_counts_at_once(package: Write) -> None:
    jobs = "from pipeline.registry import NAMES\ndef f():\n    import pipeline.plugins\n    return NAMES"
    tags = [
        deep_tag(
            package(jobs, registry="NAMES = []", plugins=f"from pipeline.registry import NAMES\nNAMES.append({n})")
        )
        for n in (1, 1, 2)
    ]
    assert tags[0] == tags[1] != tags[2]


def test_another_package_counts_by_its_name_alone(package: Write, tmp_path: Path) -> None:
    text = (
        "import textwrap as t\nfrom os.path import {0}\nimport decimal\ndef f(): return t.dedent, {0}, decimal.Decimal"
    )
    base = deep_tag(package(text.format("join")))
    assert deep_tag(package(text.format("split"))) != base
    assert deep_tag(package(text.format("join").replace("import textwrap as t", "import inspect as t"))) != base
    assert deep_tag(
        package(
            "import logging, typing, random\nlog = logging.getLogger(__name__)\nfrom random import randint\n"
            "from typing import Optional\nMISSING = object()\ndef f(): return log, Optional, MISSING, randint"
        )
    )


def test_names_that_do_not_exist_yet_count_when_they_do(package: Write) -> None:
    module = package("def f(): return later()")
    tag = CodeTag(module.f, code="deep")
    before = tag.current()
    module.later = len
    assert tag.current() != before
    del module.later
    assert tag.current() == before
    module.len = module.print = None
    assert tag.current() == before


VARYING = """
RATE = 1
TABLE = {"a": [1]}
class Base: ...
class Other: ...
class Model(Base):
    limit = 1
    def run(self): return self.limit
def helper(x, *, by=1): return x
def f(x): return helper(x) * RATE + TABLE["a"][0] + Model().run()
"""


@pytest.mark.parametrize(
    "change",
    [
        "RATE = 2",
        "TABLE = {}",
        "TABLE['a'].append(2)",
        "Model.limit = 2",
        "Model.extra = 2",
        "Model.run = lambda self: 3",
        "Model.__bases__ = (Other,)",
        "helper = lambda x: x",
        "helper.__code__ = (lambda x, *, by: x + 1).__code__",
        "helper.__kwdefaults__ = {'by': 2}",
        "helper.__kwdefaults__['by'] = 2",
        "helper.__defaults__ = (3,)",
        "TABLE['a'].append(iter(()))",
    ],
)
def test_what_changes_between_calls_changes_the_tag(package: Write, change: str) -> None:
    module = package(VARYING)
    tag = CodeTag(module.f, code="deep")
    before = tag.current()
    assert tag.current() == before
    exec(change, vars(module))
    if "iter" in change:
        with pytest.raises(KeyDerivationError, match="TABLE"):
            tag.current()
    else:
        assert tag.current() != before


def test_a_tag_is_not_derived_again_while_nothing_changed(package: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = CodeTag(package(JOBS, helpers=HELPERS, tables=TABLES).f, code="deep")
    first = tag.current()
    monkeypatch.setattr(tag, "_derive", None)
    assert [tag.current() for _ in range(3)] == [first] * 3


CLASSES = """
import abc, dataclasses, enum, functools, typing
from typing import NamedTuple

def make(): return [7]

class Meta(type):
    def __call__(cls, *args): return super().__call__(*args)

class Plain(metaclass=Meta):
    __slots__ = ("a",)
    table = {"x": 1}
    @property
    def p(self): return 10
    @functools.cached_property
    def c(self): return 11
    @staticmethod
    def s(): return 12
    @classmethod
    def k(cls): return 13
    @functools.lru_cache
    def l(self): return 14
    part = functools.partialmethod(s, 15)
    class Inner:
        def i(self): return 16

@dataclasses.dataclass
class Data:
    x: int = 20
    y: list = dataclasses.field(default_factory=make)
    def d(self): return 21

class Colour(enum.Enum):
    RED = 30
    BLUE = 31
    def e(self): return 32
    @classmethod
    def _missing_(cls, value): return 33

class Access(enum.Flag):
    READ = 1
    WRITE = 2

class Point(NamedTuple):
    x: int = 40
    def n(self): return 41

class Shape(abc.ABC):
    @abc.abstractmethod
    def a(self): return 50

class Typed(typing.TypedDict):
    x: int

class Proto(typing.Protocol):
    def m(self): return 60

T = typing.TypeVar("T")

class Box(typing.Generic[T]):
    def b(self): return 70

def f(): return Plain, Data, Colour.RED, Access.READ, Point, Shape, Typed, Proto, Box
"""


def test_all_of_a_class_that_is_used_counts(package: Write) -> None:
    numbers = [7, *range(10, 17), 20, 21, 30, 31, 32, 33, 40, 41, 50, 60, 70]
    texts = [CLASSES, *(CLASSES.replace(str(n), f"{n}0") for n in numbers)]
    texts.append(CLASSES.replace("super().__call__(*args)", "None"))
    tags = [deep_tag(package(text)) for text in texts]
    assert len(set(tags)) == len(texts)
    assert deep_tag(package(CLASSES)) == tags[0]
    assert deep_tag(package(CLASSES.replace("return 7\n", "return (7)  # same\n"))) == tags[0]


def test_attributes_of_a_class_count_by_value(package: Write) -> None:
    jobs = """
    from pipeline.helpers import limit
    class Model:
        limit = limit(3)
        table = [limit]
    def f(): return Model.limit
    """
    bodies = ("n + 1", "2 + n - 1", "n + 2")
    tags = [deep_tag(package(jobs, helpers=f"def limit(n): return {body}")) for body in bodies]
    assert len(set(tags)) == 3  # for a library may have taken what the body reads out of the class
    tags = [
        tag_of(module.f, depends=(module.Model,))
        for module in (package(jobs, helpers=f"def limit(n): return {body}") for body in bodies)
    ]
    assert tags[0] == tags[1] != tags[2]
    jobs = jobs.replace("limit = limit(3)", "")
    lists = [deep_tag(package(jobs, helpers=f"limit = {limit}")) for limit in (1, 1, 2)]
    assert lists[0] == lists[1] != lists[2]


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(text, old, new, id=f"{name} {old}")
        for name, (text, *changes) in {
            "dataclass": (
                """
                import dataclasses
                K = 3; FLAG = True; OPTIONS = {'eq': True}; NOTE = 'a'
                @dataclasses.dataclass(slots=True, **OPTIONS)
                class C:
                    v: int = K
                    w: int = dataclasses.field(default=1, compare=FLAG, metadata={'note': NOTE})
                """,
                ("K = 3", "K = 4"),
                ("FLAG = True", "FLAG = False"),
                ("'eq': True", "'eq': False"),
                ("NOTE = 'a'", "NOTE = 'b'"),
            ),
            "pydantic": (
                """
                from __future__ import annotations
                from typing import Annotated, Literal
                from pydantic import AfterValidator, BaseModel, Field
                K = 3; LEAST = 0; MOST = 9
                def check(v): return v + 1
                class D(BaseModel):
                    w: int = 5
                class E(BaseModel):
                    w: int = 6
                class C(BaseModel):
                    v: D
                    t: list['E']
                    d: int = K
                    m: int = Field(default=1, le=MOST)
                    a: Annotated[int, AfterValidator(check), "two words", "K", Field(ge=LEAST)] = 1
                    l: Literal["helpers"] = "helpers"
                """,
                ("= 5", "= 50"),
                ("= 6", "= 60"),
                ("K = 3", "K = 4"),
                ("MOST = 9", "MOST = 8"),
                ("LEAST = 0", "LEAST = 1"),
                ("v + 1", "v + 2"),
            ),
            "attrs": (
                """
                import attrs
                K = 3; MOST = 9; NOTE = 'a'
                def convert(v): return v + 1
                @attrs.define
                class C:
                    v: int = K
                    w: int = attrs.field(default=3, validator=attrs.validators.le(MOST), metadata={'note': NOTE})
                    c: int = attrs.field(default=3, converter=attrs.converters.pipe(int, convert))
                """,
                ("K = 3", "K = 4"),
                ("MOST = 9", "MOST = 8"),
                ("NOTE = 'a'", "NOTE = 'b'"),
                ("v + 1", "v + 2"),
            ),
            "body": (
                """
                import functools
                TABLE = {'a': [1]}; STEP = 1; PATTERN = {2}; ANNOTATED = 3
                def call(n, x=0): return n + STEP
                def read(method): return method
                class Meta(type):
                    def __new__(meta, name, bases, body, /, size): return super().__new__(meta, name, bases, {})
                SIZE = 4
                class C:
                    __call__ = functools.partial(call, 1)
                    __table__ = TABLE
                    class D(metaclass=Meta, size=SIZE):
                        pattern = PATTERN
                    @read
                    def m(self, x: 'ANNOTATED'): ...
                """,
                ("[1]", "[2]"),
                ("STEP = 1", "STEP = 2"),
                ("PATTERN = {2}", "PATTERN = {3}"),
                ("ANNOTATED = 3", "ANNOTATED = 4"),
                ("SIZE = 4", "SIZE = 5"),
            ),
        }.items()
        for old, new in changes
    ],
)
def test_whatever_a_class_is_made_of_counts(package: Write, text: str, old: str, new: str) -> None:
    text = textwrap.dedent(text) + "def f(x): return C, x"
    assert old in text
    base, changed = deep_tag(package(text)), deep_tag(package(text.replace(old, new)))
    assert deep_tag(package(text)) == base != changed


def test_annotations_of_methods_that_nobody_reads_do_not_count(package: Write) -> None:
    text = "LIMIT = 1\nclass C:\n    def m(self, x: LIMIT) -> 'LIMIT': ...\ndef f(): return C"
    assert deep_tag(package(text)) == deep_tag(package(text.replace("LIMIT = 1", "LIMIT = 2")))


def test_a_class_without_source_counts_by_what_is_left_of_its_body(package: Write) -> None:
    text = """
    import attrs, dataclasses
    class D:
        v = 5
    def make(n):
        @attrs.define
        class C:
            d: D
            v: int = n
        @dataclasses.dataclass(slots=True)
        class E:
            v: int = n + 1
        return C, E
    C, E = make(1)
    def f(x): return C, E
    """
    base = deep_tag(package(text))
    assert deep_tag(package(text)) == base
    tags = {deep_tag(package(text.replace(*change))) for change in [("make(1)", "make(2)"), ("v = 5", "v = 6")]}
    assert len(tags | {base}) == 3
    with pytest.raises(KeyDerivationError, match=r"whose source is not found, and what pydantic.*top of a module"):
        deep_tag(
            package(
                "import pydantic\ndef make():\n    class C(pydantic.BaseModel): ...\n    return C\nC = make()\ndef f(): return C"
            )
        )


def test_a_method_counts_with_its_class(package: Write) -> None:
    text = "class A:\n    def h(self): return 1\n    def f(self): return self.h()\nclass B(A):\n    def h(self): return 2\n"
    tags = [
        tag_of(package(version).A.f, code="deep") for version in (text, text.replace("1", "3"), text.replace("2", "3"))
    ]
    assert tags[0] == tags[2] != tags[1]


def test_objects_that_a_module_holds_count_with_their_classes(package: Write) -> None:
    text = """
    import dataclasses
    @dataclasses.dataclass
    class Config:
        rate: int = 1
        def total(self, x): return self.rate * x + OFFSET
    OFFSET = 1
    CONFIGS = {"a": [Config(2)], "b": (Config(3),)}
    def f(x): return CONFIGS["a"][0].total(x)
    """
    changes = [("(2)", "(9)"), ("(3)", "(9)"), ("rate * x", "rate + x"), ("OFFSET = 1", "OFFSET = 9")]
    tags = {deep_tag(package(text.replace(*change))) for change in changes}
    assert len(tags | {deep_tag(package(text))}) == len(changes) + 1


@pytest.mark.parametrize(
    "made",
    [
        "numpy.array([C()], dtype=object)", "pandas.Series([C()], dtype=object)", "types.SimpleNamespace(a=C())",
        "slice(C(), None)", "collections.OrderedDict(a=C())", "collections.deque([C()])", "functools.partial(C.v, C())",
        "C().v", "{C(): 1}", "lambda c=C(): c.v()", "enum.Enum('E', {'A': C()})", "[{'a': (C(),)}]", "Adapter(None, {})",
        "Condition()", "keep(C())",
    ],
)  # fmt: skip
def test_objects_count_with_their_classes_wherever_they_are(package: Write, made: str) -> None:
    text = """
    import collections, dataclasses, enum, functools, logging, threading, types, numpy, pandas
    @dataclasses.dataclass(frozen=True)
    class C:
        x: int = 1
        def v(self): return 5
    class Adapter(logging.LoggerAdapter):
        def v(self): return 5
    class Condition(threading.Condition):
        def v(self): return 5
    def keep(value):
        return lambda: value
    def f(x): return HELD
    """
    text = textwrap.dedent(text) + f"HELD = {made}"
    base = deep_tag(package(text))
    assert deep_tag(package(text)) == base != deep_tag(package(text.replace("return 5", "return 6")))


def test_the_class_of_a_default_counts_even_if_the_default_has_no_key(package: Write) -> None:
    text = "import dataclasses\n@dataclasses.dataclass\nclass C:\n    def v(self): return 5\n"
    text += "def f(x=(C(), iter(()))): return x[0].v()"
    assert deep_tag(package(text)) != deep_tag(package(text.replace("return 5", "return 6")))


def test_attributes_of_functions_count_where_they_are_read(package: Write) -> None:
    text = "def h(x): return {}\ndef g(x): return x\ng.impl = h\ng.other = iter(())\ndef f(x): return g.impl(x)"
    module = package(text.format(1))
    tag = CodeTag(module.f, code="deep")
    before = tag.current()
    assert before != deep_tag(package(text.format(2)))
    assert tag.current() == before
    module.g.impl = len
    assert tag.current() != before


def test_functions_that_other_functions_hold_are_followed(package: Write) -> None:
    text = """
    import contextlib, functools
    from s3memo import s3_cached
    A = 1; B = 2; C = 3; D = 4; E = 5; F = 6; G = 7; H = 8; I = 9
    def make(n):
        def adder(x, default=lambda: B): return x + n() + A + default()
        return adder
    add = make(lambda: H)
    @contextlib.contextmanager
    def opened(): yield C
    def twice(function):
        @functools.wraps(function)
        def wrapper(*args): return function(*args) * D
        return wrapper
    @twice
    def doubled(x): return x + E
    @s3_cached(version=1)
    def cached(x): return x + F
    @functools.singledispatch
    def by_type(x): return 0
    @by_type.register
    def _(x: int): return G
    class Methods:
        @functools.singledispatchmethod
        def by_type(self, x): return I
    def f(x):
        with opened() as o:
            return add(o) + doubled(x) + cached(x) + by_type(x) + Methods().by_type(x)
    """
    base = deep_tag(package(text))
    assert deep_tag(package(text)) == base
    tags = {deep_tag(package(text.replace(f"{name} = {n}", f"{name} = 10"))) for n, name in enumerate("ABCDEFGHI", 1)}
    assert len(tags | {base}) == 10


def test_two_closures_of_one_factory_may_not_change_places(package: Write) -> None:
    text = "def make(n): return lambda x: x + n\nOPERATIONS = {{'a': make({}), 'b': make({})}}\ndef f(x): return OPERATIONS"
    assert deep_tag(package(text.format(1, 2))) != deep_tag(package(text.format(2, 1)))


def test_defaults_that_are_code_are_followed(package: Write) -> None:
    text = "LIMIT = 1\ndef helper(): return LIMIT\ndef f(x=iter(()), *, by=helper): return by()"
    assert deep_tag(package(text)) != deep_tag(package(text.replace("LIMIT = 1", "LIMIT = 2")))


def test_what_it_depends_on_is_followed_too(package: Write) -> None:
    text = "LIMIT = 1\ndef helper(): return LIMIT\nclass Model:\n    def run(self): return LIMIT\ndef f(x): return x"

    def tags(text: str) -> list[str]:
        module = package(text)
        return [deep_tag(module, depends=(item,)) for item in (module.helper, module.Model, [module.helper])]

    assert len({*tags(text), *tags(text.replace("= 1", "= 2"))}) == 6
    module = package(text)
    keyed = [deep_tag(package(version), key=module.f) for version in (text, text)]
    assert keyed[0] == keyed[1]


def test_a_script_follows_all_that_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    tags = []
    for value in (1, 1, 2):
        (tmp_path / "lone_helpers.py").write_text(f"VALUE = {value}  # {len(tags)}\ndef g(): return VALUE\n")
        (tmp_path / "lone_job.py").write_text(
            "from lone_helpers import g\nimport json\ndef f(): return g(), json.loads\n"
        )
        for name in ("lone_helpers", "lone_job"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        tags.append(deep_tag(importlib.import_module("lone_job")))
    assert tags[0] == tags[1] != tags[2]
    for name in ("lone_helpers", "lone_job"):
        del sys.modules[name]
