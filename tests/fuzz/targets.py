"""One function for each parser, which fails if the parser breaks a promise; and inputs to start from."""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zlib import crc32
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types
import pytz  # type: ignore[import-untyped]  # it comes without types
import scipy.sparse as sp

from s3memo import codec, envelope
from s3memo.codec import registry
from s3memo.envelope import MAX_RATIO, zstd
from s3memo.errors import CodecError, DecodeError, SettingsError
from s3memo.freshness import seconds
from s3memo.settings import Settings, parse_url
from s3memo.signing import NO_KEYS, SigningKeys
from s3memo.stores.clock import parse_date
from s3memo.versions import MEMO_ROOT, Key, Version, escape, parse_object_key, parse_version, tombstone
from tests.fuzz import documents

KEYS = SigningKeys(("a key that nobody who writes these bytes has",))
OTHER_KEYS = SigningKeys(("a key of somebody else, who signs as well",))
MANY = 10_000
"""Elements. What has more is not looked at one by one."""

FIELDS: dict[str, Any] = {"created": 1, "ttl": None, "elapsed": 0, "function": "jobs.f"}
VALUES: tuple[Any, ...] = (
    None,
    [1, -1, 2**63, 2**200, 1.5, "text", b"bytes", "\udc80"],
    {"a": [True, None], "b": {"c": (1, (2, 3))}},
    {(1, "x"): 2, frozenset({1}): {3, 4}},
    [bytearray(b"abc"), 1 + 2j, range(1, 9, 2), slice(1, None), ...],
    [Decimal("1.50"), Fraction(1, 3), UUID(int=5), re.compile("a+b", re.IGNORECASE), PurePosixPath("/a/b")],
    [
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.date(2026, 1, 2),
    ],
    [dt.time(1, 2, 3), dt.timedelta(1, 2, 3), dt.timezone(dt.timedelta(hours=1), "X")],
    [[[[[[[[[]]]]]]]], "x" * 2000],
    [np.arange(6.0).reshape(2, 3), np.array(["a", "bb"]), np.array([1, None], object), np.zeros((0, 3), ">i2")],
    [np.arange(300), np.zeros(2, [("a", "u1"), ("b", "M8[s]")]), np.float32(1.5), np.str_("x"), np.dtype("S3")],
    [
        np.ma.masked_array([1, 2], [True, False]),
        np.ma.masked,
        np.matrix([[1]]),
        np.array(["a"], np.dtypes.StringDType()),
    ],
    [getattr(sp, f"{form}_array")(np.eye(3)) for form in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")],
    [memoryview(b"abcd").cast("h"), array("d", [1.0]), OrderedDict(a=1), Counter("aa"), defaultdict(list, a=[1])],
    [deque([1], 2), SimpleNamespace(a=1)],
    [pd.Timestamp("2026-01-02", tz="Europe/Berlin"), pd.Timedelta(1), pd.NaT, pd.NA, pd.Period("2026", "M")],
    pd.Timestamp("2026-01-02", tz=pytz.timezone("Europe/Berlin")),
    pd.DataFrame(
        {
            "number": [1.5, 2.5],
            "count": pd.array([1, None], "Int64"),
            "kind": pd.Categorical(["a", "b"]),
            "text": ["x", None],
            "time": pd.date_range("2026", periods=2, tz="UTC"),
            "span": pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
            "rare": pd.arrays.SparseArray([0, 1]),
        }
    ),
    pd.Series([1, 2], pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", None]), name=("a", 1)),
    [pd.RangeIndex(3), pd.period_range("2026", periods=2, freq="M"), pd.CategoricalDtype(["a"], ordered=True)],
    pa.table({"a": [1, None], "b": [["x"], []], "c": pa.array(["u", "v"]).dictionary_encode()}),
    [pa.array([1, 2]), pa.chunked_array([[1], [2]]), pa.scalar("x"), pa.schema({"a": pa.int8()}), pa.list_(pa.int8())],
    [pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1], []]}), pl.Series("s", [1.5])],
)


SCALARS: tuple[Any, ...] = (
    None, True, False, 0.0, -0.0, 1.5, float("nan"), float("inf"), 2**63, -(2**63), 10**6, 1970, 86_399,
    "<f8", "|S0", "C", "csr_array", "lil_matrix", "objects", "fields", "array", 2**40, 8,
    "", "UTC", "Europe/Berlin", "No/Such", "Africa/Such", "../etc/passwd", "1E+999999999", "sNaN", "a{9999}", "(?i:[a-z])", b"", b"\xff" * 16,
)  # fmt: skip


WHOLE: tuple[Any, ...] = (
    *(documents.document(part) for value in VALUES for part in (value if isinstance(value, list) else [value])),
    *documents.LONG,
)
"""Documents, each of one value."""

PIECES: tuple[Any, ...] = (
    *SCALARS,
    *documents.LONG,
    *(part for whole in WHOLE for _, part in documents.nodes(whole) if not isinstance(part, msgpack.ExtType)),
)
"""What may stand in the place of any part of them."""


class Pairs(list[Any]):
    """The items of a map to be packed; its keys may be what no dict takes."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under test: `check` fails on a broken promise; `seeds` are inputs that it accepts."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def warm_up(target: Target) -> None:
    """Let happen what happens once: libraries whose types are stored are loaded, and modules at their first use."""
    for code in range(128):
        with suppress(ImportError):
            registry.by_code(code)
    for seed in target.seeds:
        target.check(seed)


def check_codec(data: bytes) -> None:
    """What decodes is a value, which encodes and comes back; all else is a DecodeError."""
    try:
        value = codec.decode(data)
    except DecodeError as error:
        _check_cause(error)
        return
    _use(value)
    try:
        encoded = _encode(value)
    except CodecError:
        return  # nested deeper than what is written, for one
    assert _encode(codec.decode(encoded)) == encoded


def check_documents(data: bytes) -> None:
    """The same for what is sound msgpack, with any parts behind any tag: the bytes are the steps to build it."""
    stack: list[Any] = []
    for step, argument in zip(data[::2], data[1::2], strict=False):
        size = min(argument % 8, len(stack))
        parts = stack[len(stack) - size :]
        match step % 8:
            case 0:
                stack.append(argument - 128)
            case 1:
                stack.append(PIECES[(step // 8 * 256 + argument) % len(PIECES)])
            case 2:
                stack.append(data[argument:])
            case 3:
                stack.append(data[argument:].decode("utf-8", "surrogateescape"))
            case 4:
                stack[len(stack) - size :] = [parts]
            case 5 if size % 2 == 0:
                stack[len(stack) - size :] = [Pairs(zip(parts[::2], parts[1::2], strict=True))]
            case _:
                code = step // 8 * 2 + step % 2 + argument // 128 * 64
                stack[len(stack) - size :] = [[msgpack.ExtType(code, b""), *parts]]
    packer = msgpack.Packer(unicode_errors="surrogatepass", autoreset=False)
    _pack(packer, stack)
    check_codec(packer.bytes())


def check_swaps(data: bytes) -> None:
    """The same for a value of which some parts are those of others: which value, then which part and by which, again and again."""
    which, *swaps = (int.from_bytes(data[at : at + 2], "big") for at in range(0, min(len(data), 26) or 1, 2))
    tree = WHOLE[which % len(WHOLE)]
    for place, piece in zip(swaps[::2], swaps[1::2], strict=False):
        paths = [path for path, part in documents.nodes(tree) if not isinstance(part, msgpack.ExtType)]
        tree = documents.replaced(tree, paths[place % len(paths)], PIECES[piece % len(PIECES)])
    packer = msgpack.Packer(unicode_errors="surrogatepass", autoreset=False)
    _pack(packer, tree)
    check_codec(packer.bytes())


def check_envelope(data: bytes) -> None:
    """No bytes make a reader fail with anything but a CodecError, or believe what none of its keys signed."""
    _open(data, NO_KEYS)
    assert not _open(data, KEYS), "an object that was not signed with this key was believed"


def check_header(data: bytes) -> None:
    """The same behind a right checksum, and a right MAC: the header's length, the header, the payload."""
    for keys in (NO_KEYS, KEYS):
        _open(_forge(data, keys), keys)


def check_decompression(data: bytes) -> None:
    """No payload unpacks to more than its header says, nor to more than its size justifies."""
    raw_size = int.from_bytes(data[:3], "big")
    header = envelope.Header(**FIELDS, codec="msgpack", compression="zstd", raw_size=raw_size, python="3", s3memo="0")
    try:
        payload = envelope.Envelope(header, data, memoryview(data)[3:]).payload()
    except DecodeError as error:
        _check_cause(error)
        return
    assert len(payload) == raw_size <= MAX_RATIO * len(data)


def check_names(data: bytes) -> None:
    """A name parses to what has that name, or to None; a part that was escaped is a part of a name."""
    text = data.decode("utf-8", "surrogateescape")
    version = parse_version(text)
    assert version is None or version.name == text
    found = parse_object_key(text)
    assert found is None or found[0] + found[1].name == text
    key = Key(text, text[::-1], "0" * 32).prefix + NAMES[0]
    assert len(escape(text)) <= 180
    assert not text or parse_object_key(key) == (key.removesuffix(NAMES[0]), parse_version(NAMES[0]))


def check_settings(data: bytes) -> None:
    """A URL parses to a location that parses to itself; settings are read or refused."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        location = parse_url(text)
    except SettingsError:
        pass
    else:
        assert parse_url(str(location)) == location
    for name in ("S3MEMO_DISABLED", "S3MEMO_SIGNING_KEYS"):
        try:
            Settings.from_environment({name: text})
        except SettingsError as error:
            assert name == "S3MEMO_DISABLED" or len(text) < 32 or text not in str(error)  # noqa: PT017  both may be


def check_times(data: bytes) -> None:
    """A duration is finite and not negative, or refused; a Date header is a moment, or none."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        duration = seconds(text, name="ttl")
    except SettingsError:
        pass
    else:
        assert duration is not None
        assert 0 <= duration < float("inf")
    moment = parse_date(text)
    assert moment is None or abs(moment) < 1e12


def _open(data: bytes, keys: SigningKeys) -> bool:
    try:
        payload = envelope.unseal(data, object_key=OBJECT_KEY, keys=keys).payload()
    except CodecError as error:
        _check_cause(error)
        return False
    assert len(payload) <= MAX_RATIO * len(data)
    return True


def _forge(data: bytes, keys: SigningKeys) -> bytes:
    """Return an envelope whose header's length, header and payload are `data`, with whatever makes them believed."""
    prelude = b"s3memo\x01" + (b"\x01" if keys else b"\x00") + data[:4].rjust(4, b"\0")
    body = data[4:]
    prelude += struct.pack(">I", crc32(prelude + body))
    name = OBJECT_KEY.encode()
    mac = keys.sign([prelude, struct.pack(">I", len(name)), name, body]) if keys else b""
    return prelude + mac + body


def _use(value: Any) -> None:
    """Read arrays to their end: what points outside of itself crashes the process, whatever it raises before."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if sp.issparse(part) and math.prod(part.shape) < MANY:
            part.toarray()
        elif isinstance(part, np.ndarray) and part.size < MANY:
            with suppress(ValueError, OverflowError):  # a character or a date that cannot be
                part.tolist()


def _pack(packer: Any, value: Any) -> None:
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, Pairs):
            packer.pack_map_header(len(part))
            pending += reversed(list(chain.from_iterable(part)))
        elif isinstance(part, list):
            packer.pack_array_header(len(part))
            pending += reversed(part)
        else:
            packer.pack(part)


def _check_cause(error: CodecError) -> None:
    assert not isinstance(error.__cause__, MemoryError | AssertionError), "it was refused for want of memory"


def _encode(value: Any) -> bytes:
    return b"".join(codec.encode(value))


def _seal(value: Any, keys: SigningKeys = NO_KEYS, **fields: Any) -> bytes:
    return bytes(envelope.seal(codec.encode(value), object_key=OBJECT_KEY, keys=keys, **FIELDS | fields).data)


def _forgeable(sealed: bytes) -> bytes:
    """What `_forge` makes that envelope of."""
    return sealed[8:12] + sealed[16:]


NAMES = (
    Version(1_790_000_000_000_000, 1_780_000_000_000_000, 3600, 1250, "0123abcd").name,
    Version(1_790_000_000_000_000, 1_790_000_000_000_000, None, 0, "ffffffff").name,
    tombstone(1_790_000_000_000_000, nonce="00000000").name,
)
OBJECT_KEY = f"{MEMO_ROOT}jobs.f/0/{'0' * 32}/{NAMES[0]}"
_SEALED = tuple(_seal(value) for value in VALUES)
_FRAMES = tuple(zstd.compress(text) for text in (b"", b"abc", b"a" * 5000, bytes(range(256)) * 20))
_SIZED = tuple(zstd.get_frame_info(frame).decompressed_size.to_bytes(3, "big") + frame for frame in _FRAMES)
_BOMBS = (
    msgpack.packb([msgpack.ExtType(2, b""), *range(100)]),
    b"\xdd\xff\xff\xff\xff" * 20,
    b"\xdf\xff\xff\xff\xff" * 20,
    b"\xc9\xff\xff\xff\xff\x02" * 20,
    b"\x91" * 2000,
    b"\x81" * 2000,
)
TARGETS = (
    Target("codec", check_codec, (*map(_encode, VALUES), *_BOMBS)),
    Target("documents", check_documents, tuple(bytes(range(start, start + 64)) for start in (0, 64, 128, 192))),
    Target("swaps", check_swaps, tuple(number.to_bytes(2, "big") for number in range(len(WHOLE)))),
    Target("envelope", check_envelope, (*_SEALED, *(_seal(value, OTHER_KEYS) for value in VALUES), b"s3memo")),
    Target(
        "header",
        check_header,
        (
            *map(_forgeable, _SEALED),
            _forgeable(_seal(1, arguments={"x": "1"})),
            *(len(bomb).to_bytes(4, "big") + bomb for bomb in _BOMBS),
        ),
    ),
    Target("decompression", check_decompression, (*_SIZED, *(b"\xff\xff\xff" + frame for frame in _FRAMES))),
    Target("names", check_names, (*map(str.encode, (*NAMES, OBJECT_KEY, "a b/c=d", "..", "é" * 200)),)),
    Target(
        "settings",
        check_settings,
        (
            b"s3://bucket/a/b",
            b"file:///a%20b",
            b"memory://x",
            b"./a/../b",
            b"~/a",
            b"~root/a",
            "memory://ä".encode(),
            b"yes",
            b"k" * 32 + b"," + b"n" * 32,
        ),
    ),
    Target("times", check_times, (b"90s", b" 1.5 w ", b"Thu, 26 Nov 2026 01:00:00 GMT", b"1 Jan 1970 00:00:00 +0100")),
)
