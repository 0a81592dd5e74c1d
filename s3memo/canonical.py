"""The canonical form of a value, and its digest: equal in every process, on every machine and Python version.

Each value has one form, written piece by piece. Every part says its length or count before it begins, and
the type's tag stands first, so two values share a form only if they are of one type and equal in every part:

    form  = tag "=" length ":" bytes        None, numbers, strings, bytes
          | tag "#" BLAKE3 of the bytes     the same from 1 MiB on
          | tag "*" count ":" form …        containers; what has no order is sorted by its items' forms
          | tag ">" form                    every other type, reduced to the ones above
    tag   = length ":" name

Types are matched exactly: an instance of a subclass may hold more than its base knows of, and is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
import pathlib
import reprlib
import struct
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from types import EllipsisType, NoneType, NotImplementedType
from typing import Any, TypeAlias

from blake3 import blake3

from s3memo.errors import KeyDerivationError
from s3memo.versions import base32

MAX_DEPTH = 250
"""How deep values may be nested. Fixed, so that the caller's stack does not decide which arguments have a key."""

Write: TypeAlias = Callable[[bytes], object]
Reduce: TypeAlias = Callable[[Any], Any]

_DIGEST_BYTES = 20
_LARGE = 2**20
_ADDRESSES = frozenset("OP")  # the buffer formats of Python objects and of pointers
_NAN = bytes.fromhex("7ff8000000000000")  # for all of them, whatever their sign and payload
_MAX_STEPS_SHOWN = 8


class Fields(dict[str, Any]):
    """What a value consists of, by attribute: a reduction returns this so that errors can say `event.tzinfo`."""


class UnkeyableError(Exception):
    """No key can be made of what is at `path`; whoever asked for the key says in which function, and what helps."""

    def __init__(self, path: str, outermost: object, reason: str, remedies: tuple[str, ...]) -> None:
        whole = "" if path[:1] not in "[{" else "the value"  # which has no name where it is not a call's arguments
        super().__init__(f"no key can be made of {whole}{path}, {reason}")
        self.outermost = outermost
        """The first step into the value: the parameter's name, where the value is a call's arguments."""
        self.remedies = remedies

    def explained(self, context: str, *remedies: str) -> KeyDerivationError:
        """Return the error for the user: where, what, why, and what to do."""
        helpful = "; ".join(self.remedies + remedies)
        return KeyDerivationError(f"{context}{self}." + (f" What helps: {helpful}." if helpful else ""))


def add_type(kind: type, tag: str, reduce: Reduce) -> None:
    """Reduce instances of exactly `kind` to values that have a form; what `reduce` raises is the reason given."""
    _REDUCTIONS[kind] = tag, reduce


def add_family(belongs: Callable[[type], bool], tag: str, reduce: Reduce) -> None:
    """As add_type, for all types of which `belongs` is true; their qualified name becomes a part of the tag."""
    _FAMILIES.append((belongs, tag, reduce))


def form_digest(value: Any) -> str:
    """Return the digest of a value's canonical form. Raises UnkeyableError."""
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    _Encoder().encode(value, hasher.update)
    return base32(hasher.digest())


def is_exact(kind: type) -> bool:
    """Whether instances of exactly this type have a form of their own, which nothing may replace."""
    return kind in _ATOMS or kind in _CONTAINERS


def qualified_name(thing: Any) -> str:
    """Return `module:qualname` of a class or function, the same whether its module is imported or run."""
    module = sys.modules.get(thing.__module__)
    namespace = getattr(thing, "__globals__", None) or (vars(module) if module else {})
    return f"{module_name(thing.__module__, namespace)}:{thing.__qualname__}"


def module_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a module's name; of the one that is run, the name it would be imported by, or its script's."""
    if name not in {"__main__", "__mp_main__"}:
        return name
    spec, file = namespace.get("__spec__"), namespace.get("__file__")
    if spec is not None and spec.name.startswith("_pyrepl"):  # how Python 3.13 presents its REPL
        return "__main__"
    if spec is not None and spec.name != "__main__":
        return str(spec.name)
    return pathlib.PurePath(file).stem if file else "__main__"


def is_reachable(thing: Any) -> bool:
    """Whether a class or function is what its qualified name leads to, so that the name alone identifies it."""
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


class _Encoder:
    """Writes the canonical form of one value, and knows where inside the value it is."""

    def __init__(self) -> None:
        # The values being written, outermost first, by identity; for each the step that leads into it.
        self._trail: dict[int, tuple[str, Any]] = {}

    def encode(self, value: Any, write: Write) -> None:
        kind = type(value)
        if kind in _ATOMS:
            tag, content = _ATOMS[kind]
            _write_bytes(tag, content(value), write)
        elif id(value) in self._trail:
            self._recur(value, write)
        elif len(self._trail) == MAX_DEPTH:
            raise self._problem(f"which is nested more than {MAX_DEPTH} levels deep")
        else:
            self._trail[id(value)] = "", ""
            _CONTAINERS.get(kind, _Encoder.reduced)(self, value, write)
            del self._trail[id(value)]

    def sequence(self, value: list[Any] | tuple[Any, ...], write: Write) -> None:
        write(_head(type(value), len(value)))
        for index, item in enumerate(value):
            self._trail[id(value)] = "[{}]", index
            self.encode(item, write)

    def set(self, value: set[Any] | frozenset[Any], write: Write) -> None:
        forms = []
        for item in value:
            self._trail[id(value)] = "{{{}}}", item
            forms.append(form := bytearray())
            self.encode(item, form.extend)
        self._write_sorted(type(value), forms, write)

    def dict(self, value: dict[Any, Any], write: Write) -> None:
        forms = []
        for key, item in value.items():
            self._trail[id(value)] = "[{}]", key
            forms.append(form := bytearray())
            self.encode(key, form.extend)
            self.encode(item, form.extend)
        self._write_sorted(dict, forms, write)

    def fields(self, value: Fields, write: Write) -> None:
        write(_head(Fields, len(value)))
        for name in sorted(value):
            self._trail[id(value)] = ".", name
            self.encode(name, write)
            self.encode(value[name], write)

    def memoryview(self, value: memoryview, write: Write) -> None:
        if not _ADDRESSES.isdisjoint(value.format):
            raise self._problem(f"a memoryview of format {value.format!r}, which holds addresses")
        write(_head(memoryview, 3))
        self.encode(value.format, write)
        self.encode(value.shape, write)
        _write_bytes(_tag("data"), _flat(value), write)

    def reduced(self, value: Any, write: Write) -> None:
        found = _find_reduction(type(value))
        if found is None:
            raise self._problem(*_unknown(type(value)))
        tag, reduce = found
        try:
            reduction = reduce(value)
        except Exception as error:
            name = _display_name(type(value))
            raise self._problem(f"of type {name} ({type(error).__name__}: {error})") from error
        write(_tag(tag) + b">")
        self.encode(reduction, write)

    def _recur(self, value: Any, write: Write) -> None:
        if not callable(value):  # a function may well refer to itself; data that does has no finite form
            raise self._problem("which contains itself")
        levels_up = len(self._trail) - list(self._trail).index(id(value))
        _write_bytes(_tag("itself"), b"%d" % levels_up, write)

    def _write_sorted(self, kind: type, forms: list[bytearray], write: Write) -> None:
        write(_head(kind, len(forms)))
        for form in sorted(forms):
            write(bytes(form))

    def _problem(self, reason: str, *remedies: str) -> UnkeyableError:
        steps = [(form, to) for form, to in self._trail.values() if form]
        shown = [f".{to}" if form == "." else form.format(reprlib.repr(to)) for form, to in steps[:_MAX_STEPS_SHOWN]]
        path = "".join(shown).removeprefix(".") + ("…" if len(steps) > _MAX_STEPS_SHOWN else "")
        return UnkeyableError(path, steps[0][1] if steps else None, reason, remedies)


@lru_cache
def _tag(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(encoded), encoded)


def _head(kind: type, count: int) -> bytes:
    return b"%b*%d:" % (_tag(kind.__name__), count)


def _write_bytes(tag: bytes, content: bytes | bytearray | memoryview, write: Write) -> None:
    if len(content) < _LARGE:
        write(b"".join((tag, b"=%d:" % len(content), content)))
    else:
        # On this thread alone: BLAKE3's pool does not outlive a fork, and the child would wait for it for ever.
        write(b"%b#%b" % (tag, blake3(content).digest()))


def _flat(view: memoryview) -> bytes | memoryview:
    """Return a buffer's bytes in C order; without a copy of a large one that is laid out so."""
    return view.cast("B") if view.nbytes >= _LARGE and view.c_contiguous else view.tobytes()


def _float(value: float) -> bytes:
    return _NAN if math.isnan(value) else struct.pack(">d", value)


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


_ATOMS: dict[type, tuple[bytes, Callable[[Any], bytes | bytearray]]] = {
    kind: (_tag(kind.__name__), content)
    for kind, content in (
        (NoneType, lambda _: b""),
        (EllipsisType, lambda _: b""),
        (NotImplementedType, lambda _: b""),
        (bool, lambda value: b"%d" % value),
        (int, lambda value: b"%x" % value),
        (float, _float),
        (complex, lambda value: _float(value.real) + _float(value.imag)),
        (str, _text),
        (bytes, lambda value: value),
        (bytearray, lambda value: value),
    )
}

_CONTAINERS: dict[type, Callable[[_Encoder, Any, Write], None]] = {
    list: _Encoder.sequence,
    tuple: _Encoder.sequence,
    set: _Encoder.set,
    frozenset: _Encoder.set,
    dict: _Encoder.dict,
    Fields: _Encoder.fields,
    memoryview: _Encoder.memoryview,
}


def _attributes(*names: str) -> Reduce:
    return lambda value: Fields((name, getattr(value, name)) for name in names)


def _moment(value: Any) -> Fields:
    """A datetime or time: its representation decides, since equal instants differ in what they display."""
    clock_face = value.replace(tzinfo=None, fold=0).isoformat()
    return Fields(clock_face=clock_face, fold=value.fold, tzinfo=value.tzinfo)


def _zone_key(zone: Any) -> str:
    if zone.key is None:
        raise ValueError("it was read from a file, and has no key")
    return str(zone.key)


_REDUCTIONS: dict[type, tuple[str, Reduce]] = {
    OrderedDict: ("OrderedDict", lambda value: list(value.items())),
    Counter: ("Counter", dict),
    defaultdict: ("defaultdict", lambda value: Fields(default_factory=value.default_factory, items=dict(value))),
    deque: ("deque", lambda value: Fields(items=list(value), maxlen=value.maxlen)),
    range: ("range", _attributes("start", "stop", "step")),
    slice: ("slice", _attributes("start", "stop", "step")),
    partial: ("partial", _attributes("func", "args", "keywords")),
    # A Path can do what a PurePath cannot, so they differ; the file itself is not looked at.
    pathlib.PurePosixPath: ("PurePosixPath", str),
    pathlib.PosixPath: ("PosixPath", str),
    pathlib.PureWindowsPath: ("PureWindowsPath", str),
    pathlib.WindowsPath: ("WindowsPath", str),
}

_BY_NAME: dict[str, Reduce] = {  # types whose module is imported by whoever has an instance, and not for this table
    "datetime:datetime": _moment,
    "datetime:time": _moment,
    "datetime:date": lambda value: value.isoformat(),
    "datetime:timedelta": _attributes("days", "seconds", "microseconds"),
    "datetime:timezone": lambda value: Fields(offset=value.utcoffset(None), name=value.tzname(None)),
    "decimal:Decimal": lambda value: tuple(value.as_tuple()),  # 1.0 and 1.00 display, and divide, differently
    "fractions:Fraction": _attributes("numerator", "denominator"),
    "operator:attrgetter": lambda value: value.__reduce__()[1],
    "operator:itemgetter": lambda value: value.__reduce__()[1],
    "re:Pattern": _attributes("pattern", "flags"),
    "uuid:UUID": lambda value: value.bytes,
    "zoneinfo:ZoneInfo": _zone_key,
}


def _find_reduction(kind: type) -> tuple[str, Reduce] | None:
    family = ((f"{tag} {qualified_name(kind)}", reduce) for belongs, tag, reduce in _FAMILIES if belongs(kind))
    return _find_exact(kind) or next(family, None)


def _find_exact(kind: type) -> tuple[str, Reduce] | None:
    if kind in _REDUCTIONS:
        return _REDUCTIONS[kind]
    name = f"{kind.__module__}:{kind.__qualname__}"
    return (name, _BY_NAME[name]) if name in _BY_NAME and is_reachable(kind) else None


def _is_own_dataclass(kind: type) -> bool:
    """Whether the fields are all: a subclass that is not decorated, or of a known type, may hold more."""
    known = any(is_exact(base) or _find_exact(base) for base in kind.__mro__)
    return "__dataclass_fields__" in vars(kind) and not known


def _dataclass(value: Any) -> Fields:
    fields = Fields((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    others = getattr(value, "__dict__", {}).keys() - fields.keys()
    if not all(isinstance(getattr(type(value), name, None), cached_property) for name in others):
        raise TypeError("it has attributes besides its fields")
    return fields


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _named_tuple(value: Any) -> Fields:
    if getattr(value, "__dict__", None):
        raise TypeError("it has attributes besides its fields")
    return Fields(zip(value._fields, tuple(value), strict=True))


def _member(value: Any) -> Fields:
    """An Enum's member: the name of a Flag's combination may be None, and code that reads the value sees it change."""
    return Fields(name=value._name_, value=value._value_)


_FAMILIES: list[tuple[Callable[[type], bool], str, Reduce]] = [
    (lambda kind: hasattr(kind, "__s3memo_key__"), "object", lambda value: value.__s3memo_key__()),
    (lambda kind: issubclass(kind, enum.Enum), "enum", _member),
    (_is_own_dataclass, "dataclass", _dataclass),
    (_is_named_tuple, "namedtuple", _named_tuple),
]


def _unknown(kind: type) -> tuple[str, str, str]:
    """Return why a type has no key, and what helps."""
    base = next((b for b in kind.__mro__[1:] if is_exact(b) or _find_reduction(b)), None)
    extends = f", which extends {_display_name(base)} and may hold more than that" if base else ""
    return (
        f"of type {_display_name(kind)}{extends}",
        f"a method __s3memo_key__() of {kind.__name__}",
        f"register_key({kind.__name__}, …)",
    )


def _display_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
