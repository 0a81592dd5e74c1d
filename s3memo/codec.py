"""Values to bytes and back, exactly: `decode(encode(value))` equals `value`, and so do all types inside it.

The bytes are msgpack. What msgpack has no exact form for is an array that begins with a tag, an empty extension type
whose code names an entry of the table `_EXTENSIONS`; the value's parts follow. So all of a value is one flat msgpack
document, however deep it is.

    (1, 2j)  →  [ext 1, 1, [ext 7, 0.0, 2.0]]

Types are told apart exactly, so a subclass is never taken for its base. Decoding runs the constructors of the table and
nothing else: no name in the data is imported, looked up or called.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from fractions import Fraction
from itertools import chain
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, NoneType
from typing import Any, TypeAlias
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import msgpack  # type: ignore[import-untyped]  # it comes without types

from s3memo.errors import DecodeError, EncodeError

MAX_DEPTH = 200
"""How many steps may lead from a value that is encoded to its innermost container."""

_STEPS_SHOWN = 10
_PLAIN = frozenset({NoneType, bool, int, float, str, bytes})  # immutable, and what msgpack stores exactly
_all_plain = _PLAIN.issuperset


def encode(value: object) -> bytes:
    """Return `value` as bytes; EncodeError says what in it cannot be stored, and where.

    The same value gives the same bytes in every process; equal values need not.
    """
    encoder = _Encoder()
    try:
        return encoder.pack(encoder.lower(value))
    except RuntimeError as error:  # RecursionError on a stack that is deep already; a dict that another thread changes
        raise EncodeError(f"{encoder.place} could not be read to its end: {error}") from error
    except ValueError as error:
        raise EncodeError(
            f"the result holds something too large for one piece of msgpack (4 GiB, or 2**32 items): {error}. "
            "Return it in smaller pieces"
        ) from error


def decode(data: bytes | bytearray | memoryview) -> object:
    """Return the value that `encode` made these bytes of, or raise DecodeError; safe on bytes from anywhere.

    Nothing is built out of proportion to `data`, and nesting ends at the 1,024 levels of msgpack's own stack.
    """
    decoder = _Decoder()
    try:
        _check_structure(data)
        value = msgpack.unpackb(
            data,
            list_hook=decoder.rebuild,
            ext_hook=decoder.tag,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=1,  # encode writes none, and a number is one of our types
        )
    except DecodeError:
        raise
    except Exception as error:  # whatever foreign bytes make msgpack or a hash raise: they are not ours
        raise DecodeError(f"these bytes are not a stored value: {type(error).__name__}: {error}") from error
    if decoder.loose_tags:
        raise DecodeError("these bytes are not a stored value: a tag stands where it introduces nothing")
    return value


def is_immutable(value: object) -> bool:
    """Whether `value`, and all that it holds, can be shared between callers because none can change it."""
    pending = [value]
    while pending:
        part = pending.pop()
        if type(part) in _PLAIN:
            continue
        extension = _BY_KIND.get(type(part))
        if extension is None or extension.mutable:
            return False
        pending.extend(extension.take(part))
    return True


class _Place(str):
    """A step into a value that no index takes: to an attribute, a key, a member of a set."""

    __slots__ = ()


class _Encoder:
    """Takes one value apart; `path` leads to the part that it is at, so its length is the depth."""

    def __init__(self) -> None:
        self.path: list[object] = []
        self.pack: Callable[[object], bytes] = msgpack.Packer(
            default=_pack_int, strict_types=True, unicode_errors="surrogatepass", buf_size=4096
        ).pack

    def lower(self, value: Any) -> object:
        """Return `value` in terms of what msgpack packs exactly; a container of nothing but that, as it is."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return value if _all_plain(map(type, value)) else self._lower_parts(enumerate(value))
        if kind is dict:
            return self._lower_dict(value)
        extension = _BY_KIND.get(kind)
        if extension is None:
            raise EncodeError(
                f"{self.place} is of type {_name(kind)}, which this version does not store. {_remedy(kind)}"
            )
        if isinstance(extension, _Record):
            return self._lower_record(extension, value)
        return [extension.tag, *self._lower_members(value)]

    @property
    def place(self) -> str:
        """Where in the result the encoder is, as Python would write it."""
        steps = [step if type(step) is _Place else f"[{_short_repr(step)}]" for step in self.path]
        if len(steps) > 2 * _STEPS_SHOWN:
            steps[_STEPS_SHOWN:-_STEPS_SHOWN] = ["…"]
        return "result" + "".join(steps)

    def _lower_parts(self, parts: Iterable[tuple[object, object]]) -> list[object]:
        """Lower the parts of one container, each given with the step that leads to it."""
        if len(self.path) >= MAX_DEPTH:
            raise EncodeError(
                f"{self.place} is nested more than {MAX_DEPTH} levels deep, or the result contains itself. "
                "Return a flatter one"
            )
        lowered = []
        for step, part in parts:
            if type(part) in _PLAIN:
                lowered.append(part)
            else:
                self.path.append(step)
                lowered.append(self.lower(part))
                self.path.pop()
        return lowered

    def _lower_dict(self, value: dict[object, object]) -> object:
        if not _all_plain(map(type, value)):
            parts = chain.from_iterable(((_Place(".<key>"), key), (key, item)) for key, item in value.items())
            return [_PAIRS.tag, *self._lower_parts(parts)]
        if _all_plain(map(type, value.values())):
            return value
        return dict(zip(value, self._lower_parts(value.items()), strict=True))

    def _lower_members(self, value: Collection[Any]) -> Iterable[object]:
        if type(value) is tuple:
            return value if _all_plain(map(type, value)) else self._lower_parts(enumerate(value))
        return sorted(self._lower_parts((_Place(".<member>"), member) for member in value), key=self.pack)

    def _lower_record(self, record: _Record, value: object) -> list[object]:
        parts = list(record.take(value))
        try:
            record.rebuild(parts)  # what cannot be rebuilt here could not be rebuilt by a reader either
        except Exception as error:  # each constructor has its own ways to refuse
            raise EncodeError(
                f"{self.place}, a {_name(record.kind)}, cannot be stored so that it comes back: {error}"
            ) from error
        if _all_plain(map(type, parts)):
            return [record.tag, *parts]
        return [record.tag, *self._lower_parts(zip(record.steps, parts, strict=True))]


class _Decoder:
    """The hooks for msgpack, which calls them innermost first; `loose_tags` is how many tags await their array."""

    def __init__(self) -> None:
        self.loose_tags = 0

    def tag(self, code: int, data: bytes) -> _Extension:
        extension = _BY_CODE.get(code)
        if extension is None or data:
            raise DecodeError(f"these bytes hold a value of type number {code}, which this version does not know")
        self.loose_tags += 1
        return extension

    def rebuild(self, parts: list[Any]) -> object:
        if not (parts and isinstance(parts[0], _Extension)):
            return parts
        self.loose_tags -= 1
        extension, *parts = parts
        try:
            return extension.rebuild(parts)
        except Exception as error:  # each constructor has its own ways to refuse
            raise DecodeError(f"a stored {_name(extension.kind)} cannot be rebuilt: {error}") from error


def _check_structure(data: bytes | bytearray | memoryview) -> None:
    """Walk through `data` and build nothing, so that every length that it claims is known before one is believed.

    Without it, nested arrays that claim to be as long as all of `data` would each reserve that much.
    """
    size = memoryview(data).nbytes
    if size == 0:
        raise DecodeError("there are no bytes to decode a value from")
    unpacker = msgpack.Unpacker(max_buffer_size=size)
    unpacker.feed(data)
    unpacker.skip()
    if unpacker.tell() != size:
        raise DecodeError(f"{size - unpacker.tell()} bytes follow the end of the stored value")


class _Extension:
    """How a type is stored: a tag with its code, which is part of the format for ever, then the parts of the value.

    `rebuild` is given parts that may be anything; whatever it raises means that no value consists of them.
    """

    def __init__(
        self,
        code: int,
        kind: type,
        *,
        take: Callable[[Any], Iterable[object]] = iter,
        rebuild: Callable[[list[Any]], object],
        mutable: bool = False,
    ) -> None:
        self.code = code
        self.kind = kind
        self.take = take
        self.rebuild = rebuild
        self.mutable = mutable
        self.tag = msgpack.ExtType(code, b"")


_Fields: TypeAlias = dict[str, tuple[type, ...]]


class _Record(_Extension):
    """A type with a fixed list of parts: the name of each and the exact types that it may have, () for any."""

    def __init__(
        self,
        code: int,
        kind: type,
        fields: _Fields,
        *,
        take: Callable[[Any], Iterable[object]] | None = None,
        build: Callable[..., object] | None = None,
        mutable: bool = False,
    ) -> None:
        super().__init__(code, kind, take=take or self._attributes, rebuild=self._checked, mutable=mutable)
        self.steps = [_Place(f".{name}") for name in fields]
        self._fields = fields
        self._build = build or kind

    def _attributes(self, value: object) -> list[object]:
        return [getattr(value, name) for name in self._fields]

    def _checked(self, parts: list[Any]) -> object:
        for (name, kinds), part in zip(self._fields.items(), parts, strict=True):
            if kinds and type(part) not in kinds:
                expected = " or ".join("None" if kind is NoneType else _name(kind) for kind in kinds)
                raise TypeError(f"its {name} is of type {_name(type(part))}, not {expected}")
        return self._build(*parts)


def _pairs(parts: list[Any]) -> dict[object, object]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _pack_int(value: int) -> list[object]:
    """Return an int beyond 64 bits, which is all that msgpack still asks about, as its two's complement."""
    return [_LONG.tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _fraction(numerator: int, denominator: int) -> Fraction:
    if max(numerator.bit_length(), denominator.bit_length()) > _MAX_FRACTION_BITS:
        raise ValueError(f"its numerator or denominator has more than {_MAX_FRACTION_BITS} bits")
    return Fraction(numerator, denominator)


def _pattern(pattern: str | bytes, flags: int) -> re.Pattern[Any]:
    if len(pattern) > _MAX_PATTERN:
        raise ValueError(f"it is longer than {_MAX_PATTERN} characters")
    if flags & ~_FLAGS:
        raise ValueError("it has flags that do not change what is matched, such as re.DEBUG")
    return re.compile(pattern, flags)


def _with_fold(kind: Callable[..., object]) -> Callable[..., object]:
    """Return a builder of `kind`, whose parts end in `fold`, a keyword."""
    return lambda *parts: kind(*parts[:-1], fold=parts[-1])


def _timezone_parts(value: Any) -> tuple[int, str | None]:
    """Return the offset in µs, and the name if it was given one."""
    offset, *name = value.__getinitargs__()
    return offset // timedelta(microseconds=1), *(name or [None])


def _timezone(offset: int, name: str | None) -> timezone:
    delta = timedelta(microseconds=offset)
    return timezone(delta) if name is None else timezone(delta, name)


def _zone(key: str) -> ZoneInfo:
    if not _ZONE_KEY.fullmatch(key):  # never a path out of the time zone database, nor a module of any other package
        raise ValueError(f"{_short_repr(key)} is not the name of a time zone")
    return ZoneInfo(key)


_MAX_FRACTION_BITS = 1 << 19  # to reduce a fraction takes time that grows with the square of this
_MAX_PATTERN = 10_000  # to compile a pattern may take a millisecond a character
_FLAGS = int(re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_DECIMAL = Context(traps=[InvalidOperation])  # Decimal(text, _DECIMAL) is exact and raises, whatever the thread's is

_ANY: tuple[type, ...] = ()
_INT, _FLOAT, _STR, _BYTES = (int,), (float,), (str,), (bytes,)
_ZONE = (NoneType, timezone, ZoneInfo)
_DATE: _Fields = {"year": _INT, "month": _INT, "day": _INT}
_TIME: _Fields = {"hour": _INT, "minute": _INT, "second": _INT, "microsecond": _INT, "tzinfo": _ZONE, "fold": _INT}

_PAIRS = _Extension(4, dict, rebuild=_pairs, mutable=True)  # of keys that msgpack has no exact form for
_LONG = _Record(5, int, {"bytes": _BYTES}, build=lambda raw: int.from_bytes(raw, "big", signed=True))
_EXTENSIONS: tuple[_Extension, ...] = (
    _Extension(1, tuple, rebuild=tuple),
    _Extension(2, set, rebuild=set, mutable=True),
    _Extension(3, frozenset, rebuild=frozenset),
    _PAIRS,
    _LONG,
    _Record(6, bytearray, {"bytes": _BYTES}, take=lambda value: [bytes(value)], mutable=True),
    _Record(7, complex, {"real": _FLOAT, "imag": _FLOAT}),
    _Record(8, range, {"start": _INT, "stop": _INT, "step": _INT}),
    _Record(9, slice, {"start": _ANY, "stop": _ANY, "step": _ANY}),
    _Record(10, EllipsisType, {}),
    _Record(
        11,
        Decimal,
        {"text": _STR},
        take=lambda value: [_DECIMAL.to_sci_string(value)],
        build=lambda text: Decimal(text, _DECIMAL),
    ),
    _Record(12, Fraction, {"numerator": _INT, "denominator": _INT}, build=_fraction),
    _Record(13, datetime, _DATE | _TIME, build=_with_fold(datetime)),
    _Record(14, date, _DATE),
    _Record(15, time, _TIME, build=_with_fold(time)),
    _Record(16, timedelta, {"days": _INT, "seconds": _INT, "microseconds": _INT}),
    _Record(17, timezone, {"offset": _INT, "name": (NoneType, str)}, take=_timezone_parts, build=_timezone),
    _Record(18, ZoneInfo, {"key": _STR}, build=_zone),
    _Record(
        19,
        UUID,
        {"bytes": _BYTES, "is_safe": (NoneType, int)},
        take=lambda value: [value.bytes, value.is_safe.value],
        build=lambda raw, is_safe: UUID(bytes=raw, is_safe=SafeUUID(is_safe)),
    ),
    *(
        _Record(code, kind, {"path": _STR}, take=lambda value: [str(value)])
        for code, kind in enumerate((PurePosixPath, PureWindowsPath, PosixPath, WindowsPath), 20)
    ),
    _Record(24, re.Pattern, {"pattern": (str, bytes), "flags": _INT}, build=_pattern),
)
_BY_CODE = {extension.code: extension for extension in _EXTENSIONS}
_BY_KIND = {extension.kind: extension for extension in _EXTENSIONS}
_STORED = _PLAIN | {list} | _BY_KIND.keys()


def _remedy(kind: type) -> str:
    """Say what to do about a value of a type that cannot be stored."""
    if kind is memoryview:
        return "A memoryview owns no data; return bytes(...) of it"
    if issubclass(kind, Enum):
        return "Return the member's value"
    if is_dataclass(kind):
        return "Return dataclasses.asdict(...) of it"
    base = next((base for base in kind.__mro__ if base in _STORED), None)
    if base:
        return f"Convert it to a plain {_name(base)}"
    return "Convert it to Python's built-in types"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _short_repr(step: object) -> str:
    try:
        return reprlib.repr(step)
    except ValueError:  # an int of more digits than Python agrees to print
        return f"<{_name(type(step))}>"
