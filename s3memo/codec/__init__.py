"""Values to bytes and back, exactly: `decode(encode(value))` equals `value`, and so do all types inside it.

The bytes are msgpack. What msgpack has no exact form for is an array that begins with a tag, an empty extension type
whose code names an entry of the table of `builtin`; the value's parts follow. So all of a value is one flat msgpack
document, however deep it is.

    (1, 2j)  →  [ext 1, 1, [ext 7, 0.0, 2.0]]

Types are told apart exactly, so a subclass is never taken for its base. Decoding runs the constructors of the table and
nothing else: no name in the data is imported, looked up or called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import is_dataclass
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.builtin import EXTENSIONS, PAIRS, pack_int
from s3memo.codec.table import Extension, Place, Record, short_repr, type_name
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


class _Encoder:
    """Takes one value apart; `path` leads to the part that it is at, so its length is the depth."""

    def __init__(self) -> None:
        self.path: list[object] = []
        self.pack: Callable[[object], bytes] = msgpack.Packer(
            default=pack_int, strict_types=True, unicode_errors="surrogatepass", buf_size=4096
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
                f"{self.place} is of type {type_name(kind)}, which this version does not store. {_remedy(kind)}"
            )
        if isinstance(extension, Record):
            return self._lower_record(extension, value)
        return [extension.tag, *self._lower_members(value)]

    @property
    def place(self) -> str:
        """Where in the result the encoder is, as Python would write it."""
        steps = [step if type(step) is Place else f"[{short_repr(step)}]" for step in self.path]
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
            parts = chain.from_iterable(((Place(".<key>"), key), (key, item)) for key, item in value.items())
            return [PAIRS.tag, *self._lower_parts(parts)]
        if _all_plain(map(type, value.values())):
            return value
        return dict(zip(value, self._lower_parts(value.items()), strict=True))

    def _lower_members(self, value: Collection[Any]) -> Iterable[object]:
        if type(value) is tuple:
            return value if _all_plain(map(type, value)) else self._lower_parts(enumerate(value))
        return sorted(self._lower_parts((Place(".<member>"), member) for member in value), key=self.pack)

    def _lower_record(self, record: Record, value: object) -> list[object]:
        parts = list(record.take(value))
        try:
            record.rebuild(parts)  # what cannot be rebuilt here could not be rebuilt by a reader either
        except Exception as error:  # each constructor has its own ways to refuse
            raise EncodeError(
                f"{self.place}, a {type_name(record.kind)}, cannot be stored so that it comes back: {error}"
            ) from error
        if _all_plain(map(type, parts)):
            return [record.tag, *parts]
        return [record.tag, *self._lower_parts(zip(record.steps, parts, strict=True))]


class _Decoder:
    """The hooks for msgpack, which calls them innermost first; `loose_tags` is how many tags await their array."""

    def __init__(self) -> None:
        self.loose_tags = 0

    def tag(self, code: int, data: bytes) -> Extension:
        extension = _BY_CODE.get(code)
        if extension is None or data:
            raise DecodeError(f"these bytes hold a value of type number {code}, which this version does not know")
        self.loose_tags += 1
        return extension

    def rebuild(self, parts: list[Any]) -> object:
        if not (parts and isinstance(parts[0], Extension)):
            return parts
        self.loose_tags -= 1
        extension, *parts = parts
        try:
            return extension.rebuild(parts)
        except Exception as error:  # each constructor has its own ways to refuse
            raise DecodeError(f"a stored {type_name(extension.kind)} cannot be rebuilt: {error}") from error


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


_BY_CODE = {extension.code: extension for extension in EXTENSIONS}
_BY_KIND = {extension.kind: extension for extension in EXTENSIONS}
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
        return f"Convert it to a plain {type_name(base)}"
    return "Convert it to Python's built-in types"
