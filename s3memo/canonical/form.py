"""The canonical form of a value, and its digest: equal in every process, on every machine and Python version.

Each value has one form, written piece by piece. The type's tag comes first, and every part is preceded by its length or
count, so two values share a form only if they are of one type and equal in every part:

    form  = tag "=" length ":" bytes        None, numbers, strings, bytes
          | tag "#" BLAKE3 of the bytes     the same from 1 MiB on, and bytes that come in blocks
          | tag "*" count ":" form …        containers; what has no order is sorted by its items' forms
          | tag ">" form                    every other type, reduced to the ones above
          | "itself" "=" length ":" digits  code that is being written, so many levels up
          | "again" "=" length ":" digits   code that was written before, as which of it
    tag   = length ":" name

Types are matched exactly: an instance of a subclass may hold more than its base's form shows, and is refused.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from types import EllipsisType, FunctionType, NoneType, NotImplementedType
from typing import Any, TypeAlias

from blake3 import blake3

from s3memo.canonical.registry import Fields, ReductionError, find_reduction
from s3memo.codec.table import short_repr, type_name
from s3memo.errors import KeyDerivationError
from s3memo.versions import base32

MAX_DEPTH = 250
"""How deep values may be nested; fixed, so that it does not depend on the caller's stack."""

Write: TypeAlias = Callable[[bytes], object]
Buffer: TypeAlias = Any  # whatever supports the buffer protocol, arrays included
_DIGEST_BYTES = 20
_LARGE = 2**20
_CODE = (FunctionType, type)
_ADDRESSES = frozenset("OP")  # the buffer formats of Python objects and of pointers
_pack_float = struct.Struct(">d").pack
_NAN = bytes.fromhex("7ff8000000000000")  # for every NaN, whatever its sign and payload
_MAX_STEPS_SHOWN = 8
_first = itemgetter(0)


class UnkeyableError(Exception):
    """No key can be made of what is at `path`; the caller adds which function it is about, and remedies."""

    def __init__(self, path: str, outermost: object, reason: str, remedies: tuple[str, ...]) -> None:
        whole = "" if path[:1] not in "[{" else "the value"  # the path of an argument begins with its name
        super().__init__(f"no key can be made of {whole}{path}, {reason}")
        self.outermost = outermost
        """The first step into the value: for a call's arguments, the parameter's name."""
        self.remedies = remedies

    def explained(self, context: str, *remedies: str) -> KeyDerivationError:
        """Return the error for the user, with the context and all remedies."""
        helpful = "; ".join(self.remedies + remedies)
        return KeyDerivationError(f"{context}{self}." + (f" What helps: {helpful}." if helpful else ""))


def form_digest(value: Any, *, meet: Callable[[type], object] | None = None) -> str:
    """Return the digest of a value's canonical form. Raises UnkeyableError.

    `meet` is called with the type of each object in it that is not one of the grammar's own.
    """
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    encoder = _Encoder(meet)
    try:
        encoder.encode(value, hasher.update)
    except UnkeyableError:
        raise
    except Exception as error:  # a file cannot be read, another thread changes a dict, the caller's stack is full
        raise encoder.problem(f"which cannot be read ({type(error).__name__}: {error})") from error
    return base32(hasher.digest())


class FieldsOf:
    """Digests Fields with always the same names, fast if every value is an atom."""

    def __init__(self, names: Iterable[str]) -> None:
        placed = sorted((name, place) for place, name in enumerate(names))
        self._head = _head(Fields, len(placed))
        self._parts = [(_str(name), place) for name, place in placed]

    def digest(self, values: Sequence[Any]) -> str | None:
        """Return the `form_digest` of Fields with these values, or None if one of them is not an atom."""
        form = self._head
        for name, place in self._parts:
            value = values[place]
            atom = _ATOMS.get(type(value))
            if atom is None:
                return None
            form += name + atom(value)
        return base32(hashlib.blake2b(form, digest_size=_DIGEST_BYTES).digest())


def is_exact(kind: type) -> bool:
    """Whether the grammar itself has this type, so that no reduction may replace its form."""
    return kind in _ATOMS or kind in _CONTAINERS


class Blocks:
    """Bytes in blocks, so that large data need not be contiguous, nor be copied."""

    def __init__(self, blocks: Iterable[Buffer]) -> None:
        self.blocks = blocks


class Items:
    """A sequence whose items are made one by one, on demand."""

    def __init__(self, count: int, items: Iterable[Any]) -> None:
        self.count = count
        self.items = items


class _Encoder:
    """Writes the canonical form of one value, and tracks where in the value it is."""

    def __init__(self, meet: Callable[[type], object] | None = None) -> None:
        self._meet = meet
        # The values being written, outermost first, by identity, each with the step into its current part.
        self._trail: dict[int, tuple[str, Any]] = {}
        self._strings: dict[str, bytes] = {}  # forms of keys, which repeat from record to record
        # The functions and classes written within the outermost one, by identity; None outside of any.
        self._code: dict[int, tuple[int, object]] | None = None

    def encode(self, value: Any, write: Write) -> None:
        kind = type(value)
        if kind in _ATOMS:
            write(_ATOMS[kind](value))
            return
        trail, identity = self._trail, id(value)
        if identity in trail:
            self._recur(value, write)
        elif len(trail) == MAX_DEPTH:
            raise self.problem(f"which is nested more than {MAX_DEPTH} levels deep")
        else:
            trail[identity] = "", ""
            _CONTAINERS.get(kind, _Encoder.reduced)(self, value, write)
            del trail[identity]

    def sequence(self, value: list[Any] | tuple[Any, ...], write: Write) -> None:
        write(_head(type(value), len(value)))
        atom_of = _ATOMS.get
        for index, item in enumerate(value):
            if atom := atom_of(type(item)):
                write(atom(item))
            else:
                self._trail[id(value)] = "[{}]", index
                self.encode(item, write)

    def set(self, value: set[Any] | frozenset[Any], write: Write) -> None:
        forms = []
        code, self._code = self._code, None  # without an order, "written before" has no meaning between items
        for item in value:
            self._trail[id(value)] = "{{{}}}", item
            forms.append(self._form(item))
        self._code = code
        write(_head(type(value), len(forms)) + b"".join(sorted(forms)))

    def dict(self, value: dict[Any, Any], write: Write) -> None:
        entries = []
        known, atom_of = self._strings, _ATOMS.get
        code, self._code = self._code, None  # as in a set
        for key, item in value.items():
            if type(key) is not str:
                self._trail[id(value)] = "[{}]", key
                form = self._form(key)
            elif not (form := known.get(key, b"")):
                known[key] = form = _str(key)
            entries.append((form, key, item))
        entries.sort(key=_first)  # no form is a prefix of another; equal ones, of NaNs, stay in order
        write(_head(dict, len(entries)))
        for form, key, item in entries:
            write(form)
            if atom := atom_of(type(item)):
                write(atom(item))
            else:
                self._trail[id(value)] = "[{}]", key
                self.encode(item, write)
        self._code = code

    def _form(self, value: Any) -> bytes:
        parts: list[bytes] = []
        self.encode(value, parts.append)
        return b"".join(parts)

    def fields(self, value: Fields, write: Write) -> None:
        write(_head(Fields, len(value)))
        for name in sorted(value):
            self._trail[id(value)] = ".", name
            write(_str(name))
            self.encode(value[name], write)

    def items(self, value: Items, write: Write) -> None:
        write(_head(list, value.count))
        for index, item in enumerate(value.items):
            self._trail[id(value)] = "[{}]", index
            self.encode(item, write)

    def blocks(self, value: Blocks, write: Write) -> None:
        hasher = blake3()
        for block in value.blocks:
            hasher.update(block)
        write(_DATA + b"#" + hasher.digest())

    def memoryview(self, value: memoryview, write: Write) -> None:
        if not _ADDRESSES.isdisjoint(value.format):
            raise self.problem(f"a memoryview of format {value.format!r}, which holds addresses")
        write(_head(memoryview, 3))
        self.encode(value.format, write)
        self.encode(value.shape, write)
        if value.nbytes < _LARGE or value.c_contiguous:
            write(_of_bytes(_DATA, _flat(value)))
        else:
            self.blocks(Blocks(_rows(value)), write)

    def reduced(self, value: Any, write: Write) -> None:
        outside = self._code is None
        if isinstance(value, _CODE) and self._refer_back(value, write):
            return
        if self._meet is not None:
            self._meet(type(value))
        found = find_reduction(type(value))
        if found is None:
            raise self.problem(*_unknown(type(value)))
        tag, reduce = found
        try:
            reduction = reduce(value)
        except ReductionError as error:
            raise self.problem(str(error)) from error
        except Exception as error:
            name = type_name(type(value))
            raise self.problem(f"of type {name} ({type(error).__name__}: {error})") from error
        write(_tag(tag) + b">")
        self.encode(reduction, write)
        if outside:
            self._code = None

    def _refer_back(self, value: Any, write: Write) -> bool:
        """Write the number of code that was written before within the outermost one; return False if it was not.

        So functions that refer to each other are written once each.
        """
        if self._code is None:
            self._code = {}
        if id(value) not in self._code:
            self._code[id(value)] = len(self._code), value
            return False
        write(_of_bytes(_tag("again"), b"%d" % self._code[id(value)][0]))
        return True

    def _recur(self, value: Any, write: Write) -> None:
        if not callable(value):  # a function may refer to itself; data that does has no finite form
            raise self.problem("which contains itself")
        levels_up = len(self._trail) - list(self._trail).index(id(value))
        write(_of_bytes(_tag("itself"), b"%d" % levels_up))

    def problem(self, reason: str, *remedies: str) -> UnkeyableError:
        steps = [(form, to) for form, to in self._trail.values() if form]
        shown = [f".{to}" if form == "." else form.format(short_repr(to)) for form, to in steps[:_MAX_STEPS_SHOWN]]
        path = "".join(shown).removeprefix(".") + ("…" if len(steps) > _MAX_STEPS_SHOWN else "")
        return UnkeyableError(path, steps[0][1] if steps else None, reason, remedies)


@lru_cache
def _tag(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(encoded), encoded)


def _head(kind: type, count: int) -> bytes:
    return b"%b*%d:" % (_HEADS[kind], count)


def _of_bytes(tag: bytes, content: Any) -> bytes:
    if len(content) < _LARGE:
        return b"%b=%d:%b" % (tag, len(content), content)
    # On this thread only: BLAKE3's pool does not survive a fork, and a child would wait for it for ever.
    return b"%b#%b" % (tag, blake3(content).digest())


def _flat(view: memoryview) -> bytes | memoryview:
    """Return a buffer's bytes in C order; a large one is not copied."""
    return view.cast("B") if view.nbytes >= _LARGE else view.tobytes()


def _rows(view: memoryview) -> Iterator[bytes]:
    """Yield the bytes of a buffer that is not in C order, about a mebibyte at a time."""
    step = max(1, len(view) * _LARGE // view.nbytes)
    return (view[start : start + step].tobytes() for start in range(0, len(view), step))


def _float(value: float) -> bytes:
    return _NAN if math.isnan(value) else _pack_float(value)


def _int(value: int) -> bytes:
    digits = b"%x" % value
    return b"3:int=%d:%b" % (len(digits), digits) if len(digits) < _LARGE else _of_bytes(b"3:int", digits)


def _str(value: str) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode("utf-8", "surrogatepass")
    return b"3:str=%d:%b" % (len(encoded), encoded) if len(encoded) < _LARGE else _of_bytes(b"3:str", encoded)


_DATA = _tag("data")
_HEADS: dict[type, bytes] = {
    kind: _tag(kind.__name__) for kind in (list, tuple, set, frozenset, dict, Fields, memoryview)
}

_ATOMS: dict[type, Callable[[Any], bytes]] = {
    NoneType: lambda _: b"8:NoneType=0:",
    EllipsisType: lambda _: b"8:ellipsis=0:",
    NotImplementedType: lambda _: b"18:NotImplementedType=0:",
    bool: lambda value: b"4:bool=1:%d" % value,
    int: _int,
    float: lambda value: b"5:float=8:" + _float(value),
    complex: lambda value: b"7:complex=16:" + _float(value.real) + _float(value.imag),
    str: _str,
    bytes: lambda value: _of_bytes(b"5:bytes", value),
    bytearray: lambda value: _of_bytes(b"9:bytearray", value),
}

_CONTAINERS: dict[type, Callable[[_Encoder, Any, Write], None]] = {
    list: _Encoder.sequence,
    tuple: _Encoder.sequence,
    set: _Encoder.set,
    frozenset: _Encoder.set,
    dict: _Encoder.dict,
    Fields: _Encoder.fields,
    memoryview: _Encoder.memoryview,
    Blocks: _Encoder.blocks,
    Items: _Encoder.items,
}


def _unknown(kind: type) -> tuple[str, str, str]:
    """Return why a type has no key, and the remedies."""
    base = next((b for b in kind.__mro__[1:] if is_exact(b) or find_reduction(b)), None)
    extends = f", which extends {type_name(base)} and may hold more than that" if base else ""
    return (
        f"of type {type_name(kind)}{extends}",
        f"a method __s3memo_key__() of {kind.__name__}",
        f"register_key({kind.__name__}, …)",
    )
