"""Functions that use all of Python's syntax; run it, and it prints the two tags of each: of its source, and deep."""
# fmt: off

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import os.path as paths
import pathlib
import threading
from typing import Annotated, Any, NamedTuple

from tests.samples import values
from tests.samples.values import Model as Imported

LIMIT = 10
RATES = {"low": 0.5, "high": (1, 2.5, -0.0)}
NAMES = frozenset({"a", "b", "c"})
total = 0


class Read:
    """What is read of it, its annotations and defaults among it."""

    path: "pathlib.Path | None" = None
    size: Annotated[int, LIMIT] = len(NAMES)
    lock = threading.Lock()

    @functools.singledispatchmethod
    def by_type(self, x: NAMES): return pathlib.Path("a"), x

    def plain(self, x: "Unknown") -> "Unknown":
        return x


class Kind(enum.Enum):
    A = "a"
    B = "b"


@dataclasses.dataclass(frozen=True)
class Record:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)

    def size(self) -> int:
        return self.x + len(self.y) + LIMIT


class Pair(NamedTuple):
    left: int
    right: int = 2

    @property
    def sum(self) -> int:
        return self.left + self.right


def arithmetic(a, b=2, /, c=3, *, d=4, **rest):
    x = a + b - c * d / 2 // 3 % 5 ** 2 @ b
    x += 1; x -= 2; x *= 3; x /= 4; x //= 5; x %= 6; x **= 7; x <<= 1; x >>= 2; x |= 3; x &= 4; x ^= 5; x @= b
    return -x + +x, ~x, not x, x << 1 | x >> 2 & 3 ^ 4, 1_000, 0xFF, 1e-3, 2j, (1,), [], {}, (), rest


def comparisons(a, b):
    return a < b <= 3 != 4 == a > b >= 0 or a is b and a is not None, a in NAMES, b not in RATES, a if a else b


def strings(x, width=3):
    name = 'a' "b" r'\n' 'é\u00e9\n\t\\'
    return f"{x!r:>{width}} {x=} {{literal}} {f'{x}{1 + 1}'!s}" f'{name}' + "plain", b'\x00bytes', f"", f"{x:{width}.{2}f}"


def f_strings_in_parts(x):
    return f"a" "b" f"{x}" "c{}" f"{{d}}{x:%Y-%m-%d}" 'e', f'''{
        x
    }''', f"{'a' 'b'}{x!a}", f"{x:{'>'}{10}}", f"{lambda_of(x)}"


def lambda_of(x):
    return (lambda y, *z, k=1, **kw: (x, y, z, k, kw))(1), [lambda: n for n in range(3)], (lambda: (yield))


def loops(items):
    for i, (a, *b) in enumerate(items):
        if a:
            continue
        elif b:
            break
        else:
            pass
    else:
        i = 0
    while items:
        items.pop()
    else:
        del items[0], i
    return items


def comprehensions(n):
    return (
        [i for i in range(n) if i if i % 2 for j in range(i)],
        {i: j for i, j in zip(range(n), "abc")},
        {i for i in range(n)},
        sum(i for i in range(n)),
        [[y := x, y ** 2] for x in range(n)],
        [x for x in [1] if [x for x in [LIMIT]]],
    )


def slices(x):
    x[0], x[1:2], x[::3], x[1, ..., None:] = 1, [2], [3], 4
    x[0] += 1
    x.attribute = x.a.b.c
    first, *middle, last = x
    a = b = first
    return *middle, last, a, b, x[*middle]


def walrus(data):
    if (n := len(data)) > LIMIT and (m := n + 1):
        return n, m
    return (k := 3)


def matches(command):
    match command:
        case 1 | -1 | 2.5 | "text" | b"bytes" | None | True | 1 + 2j:
            return 1
        case [x, y, *rest] if x > y:
            return x, rest
        case {"key": value, **others}:
            return value, others
        case Record(x=0, y=[_, *_]) | Pair(0, 1):
            return 2
        case Kind.A as kind:
            return kind
        case (1, (2, 3)) | []:
            return 3
        case str(s):
            return s
        case _:
            return None


def tries(x):
    try:
        x()
    except (ValueError, TypeError) as error:
        raise RuntimeError("failed") from error
    except Exception:
        raise
    else:
        x = 1
    finally:
        x = 2
    try:
        x()
    except* OSError as group:
        x = group.exceptions
    assert x, f"empty {x}"
    assert helper_in_assert(x)
    return x


def helper_in_assert(x):
    return x is not LIMIT


def withs(path):
    with open(path) as a, contextlib.suppress(OSError), contextlib.nullcontext((1, 2)) as (b, c):
        pass
    with (
        contextlib.nullcontext() as d,
        contextlib.nullcontext(),
    ):
        return a, b, c, d


async def coroutines(x):
    async with x as y, x:
        async for i in y:
            await i
        else:
            await asyncio.sleep(0)
    return [i async for i in x if await i], {i: await i async for i in x}, (i async for i in x)


def generators(n):
    received = yield
    x = yield n
    yield from range(n)
    return received, x


def scopes(n):
    global total
    total += n
    count = 0

    def inner():
        nonlocal count
        count += n

        def innermost():
            return count, n, total
        return innermost

    inner()
    return count, locals(), __name__, __debug__


def nested(n: int, *args: int, key: str = "k", **kwargs: Any) -> Any:
    """What it does."""
    # a comment
    local: int = n
    declared: Unknown
    local_obj = Record(n)
    local_obj.x: int

    @functools.wraps(helper_in_assert)
    @functools.lru_cache(maxsize=None)
    def decorated(x: int, y: str = "d") -> None:
        """Kept: it is read by what decorates it."""
        return x

    def plain(x: "Unknown", *, y: Unknown = 3) -> Unknown:
        "Not kept."
        return x

    class Local(Record, metaclass=type):
        """Kept."""

        attribute: int = LIMIT
        other = attribute

        def method(self, z: int = 1) -> None:
            """Kept too."""
            return super().size(), __class__, self.__private

        @staticmethod
        def static(): return LIMIT

    return decorated, plain, Local, local


def imports(x):
    import json
    import os.path
    import xml.dom.minidom as dom
    from tests.samples import values as others
    from tests.samples.values import scale, adder as plus
    from . import values as again
    return json.dumps, os.path.join, dom.parse, others.adder, scale, plus(1), again.Colour.RED


def attributes(x):
    return values.scale(x), values.Model([1]).predict(x), Imported, paths.join, RATES["low"], Kind.B, Record(1), Pair(1)


def classes(kind=Read):
    class Local(Read):
        path: Path = kind
    return Local, kind is Read, Read().by_type(1), pathlib.PurePath


def conditions(x):
    if __debug__:
        x = helper_in_assert(x)
    if not __debug__:
        x = later
    if 0:
        x = LIMIT
    while 1:
        return x or (x and not x)


def constants():
    return 1, 1.0, True, None, ..., "1", b"1", 1j, -1, (1, (2.0, "x")), 10**3, 2 * 3, "a" * 3, -0.0, 1e400, {1, 2}, {"a": {}}


class Service:
    factor = 3

    def method(self, x):
        return self.factor * x + self.__hidden() + super().__hash__()

    def __hidden(self):
        return __LIMIT

    @functools.cached_property
    def lazy(self):
        return LIMIT


_Service__LIMIT = 4
method = Service.method
one_line = (lambda x: x + 1, lambda x: x + LIMIT)[1]
closed = (lambda n, f: lambda x: (x, n, f))(LIMIT, helper_in_assert)


FUNCTIONS = [
    arithmetic, comparisons, strings, f_strings_in_parts, lambda_of, loops, comprehensions, slices, walrus, matches,
    tries, withs, coroutines, generators, scopes, nested, imports, attributes, classes, conditions, constants, method, one_line,
    closed,
]

if __name__ == "__main__":
    from s3memo.fingerprint import tag_of

    for function in FUNCTIONS:
        print(function.__qualname__, tag_of(function), tag_of(function, code="deep"))
