"""Arrays as results: exact, writable, aligned, and safe to decode from anywhere."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s3memo.codec import decode, encode
from s3memo.errors import DecodeError, EncodeError
from tests.measuring import peak

STRUCTURE = np.dtype([("flag", "i1"), ("value", "f8")], align=True)
NUMBERS = np.arange(24.0).reshape(4, 6)
NESTED = np.dtype([("x", "i1", (2,)), (("title", "y"), [("z", ">u2")])])

VALUES: list[Any] = [
    *(np.arange(4), NUMBERS, np.asfortranarray(NUMBERS), NUMBERS[::2, ::-1], np.array(3.0), np.array([])),
    *(np.zeros((0, 3)), np.zeros(3, "U0"), np.arange(10_000.0), np.array(["a", "bb"]), np.array([b"a"])),
    *(np.array([1, 2], ">i4"), np.array([True, False]), np.array([1.5], np.longdouble), np.array([1j], "c8")),
    *(np.array(["2020", "NaT"], "M8[s]"), np.array([5], "m8[25us]"), np.array([b"xx"], "V2"), np.array([1], "f2")),
    *(np.array([(1, 2.0)], STRUCTURE), np.zeros(2, NESTED), np.rec.array([(1,)], dtype=[("a", "i1")])),
    *(np.array([1, None, "x", [1]], object), np.array([[1, 2], [3, 4]], object), np.array([[1], [2]], object)),
    *(np.array(["a"], np.dtypes.StringDType()), np.array(["a", None], np.dtypes.StringDType(na_object=None))),
    *(
        np.longlong(1),
        np.array(["a"], np.dtypes.StringDType(na_object=0)),
        np.array([(1, [])], [("a", "i1"), ("b", "O")]),
    ),
    *(np.array(["a", np.nan], np.dtypes.StringDType(na_object=np.nan)), np.matrix([[1, 2]])),
    *(np.float64(1.5), np.int8(1), np.datetime64("2020"), np.timedelta64(3, "s"), np.longdouble(1.5), np.bool_(True)),
    *(np.str_("a\0"), np.bytes_(b"a\0"), np.array([(1, 2.0)], STRUCTURE)[0], np.float16(2), np.complex64(1j)),
    *(np.dtype("f8"), STRUCTURE, np.dtype("M8[ns]"), np.dtype("U3")),
    *(np.ndarray((3,), "S0"), np.ndarray((2, 3), "U0", order="F"), np.ndarray((3,), "V0"), np.zeros((0, 2**40))),
    *({"a": [NUMBERS, (NUMBERS, 1)]}, [np.arange(1000.0), b"x" * 2000, np.arange(999)]),
]


def stored(value: Any) -> bytearray:
    return bytearray().join(encode(value))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other) or getattr(one, "dtype", None) != getattr(other, "dtype", None):
        return False
    if isinstance(one, np.ndarray):
        laid_out = one.flags.f_contiguous == other.flags.f_contiguous or not one.flags.contiguous
        return one.shape == other.shape and laid_out and one.tolist().__repr__() == other.tolist().__repr__()
    return repr(one) == repr(other)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}")
@pytest.mark.parametrize("buffer", [bytearray, bytes])
def test_an_array_comes_back_as_it_was(value: Any, buffer: type) -> None:
    assert same(value, decode(buffer(stored(value))))


@given(hnp.arrays(hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_any_array_comes_back_bit_by_bit(array: np.ndarray[Any, Any]) -> None:
    again = decode(stored(array))
    assert isinstance(again, np.ndarray)
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("array", [np.ma.masked_array([1, 2], [True, False], fill_value=7), np.ma.masked_array([1.0])])
def test_a_masked_array_keeps_its_mask_and_fill_value(array: Any) -> None:
    again: Any = decode(stored(array))
    assert type(again) is type(array)
    assert (again.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert again.fill_value == array.fill_value
    assert again.hardmask == array.hardmask
    assert repr(again) == repr(array)


@pytest.mark.parametrize("dtype", ["U2", "S1", "V3", "g", "i2", "O", "M8[D]", [("a", "f8", (2,))]], ids=str)
def test_a_masked_array_keeps_the_fill_value_that_numpy_gave_it(dtype: Any) -> None:
    array = np.ma.masked_array(np.zeros(2, dtype))
    back = decode(stored(array)).fill_value
    assert type(back) is type(array.fill_value)
    assert repr(back) == repr(array.fill_value)


def test_the_masked_constant_is_itself() -> None:
    assert decode(stored(np.ma.masked)) is np.ma.masked


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"])
@pytest.mark.parametrize("suffix", ["array", "matrix"])
def test_a_sparse_matrix_comes_back_with_what_it_stores(form: str, suffix: str) -> None:
    matrix = getattr(sp, f"{form}_{suffix}")(sp.coo_array(([1.0, 0.0, 3.0], ([0, 1, 2], [2, 1, 0])), shape=(3, 4)))
    again: Any = decode(stored(matrix))
    assert type(again) is type(matrix)
    assert (again.dtype, again.shape, again.nnz) == (matrix.dtype, matrix.shape, matrix.nnz)
    assert (again.toarray() == matrix.toarray()).all()


def test_an_array_lies_over_a_buffer_that_is_given_away_and_never_over_one_that_is_not() -> None:
    array = np.arange(1000.0)
    given_away, kept = stored(array), bytes(stored(array))
    over, copied = decode(given_away), decode(kept)
    assert isinstance(over, np.ndarray)
    assert isinstance(copied, np.ndarray)
    assert np.shares_memory(over, np.frombuffer(given_away, np.uint8))
    assert not np.shares_memory(copied, np.frombuffer(kept, np.uint8))
    over[0] = copied[0] = 5
    assert decode(bytes(kept))[0] == 0  # type: ignore[index]  # an array


def test_large_buffers_stand_at_multiples_of_64() -> None:
    pieces = encode([np.arange(1000.0), np.arange(777, dtype="i1").repeat(3), "x"])
    at, places = 0, []
    for piece in pieces:
        if memoryview(piece).nbytes > 64:
            places.append(at)
        at += memoryview(piece).nbytes
    assert places[1:]
    assert not any(place % 64 for place in places)


def test_an_array_is_encoded_without_a_copy() -> None:
    array = np.arange(1_000_000.0)
    tracemalloc.start()
    pieces = encode(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert any(np.shares_memory(array, np.frombuffer(piece, np.uint8)) for piece in pieces if len(piece))


def noted(value: Any) -> Any:
    value.note = 1
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros(1, np.dtype("f8", metadata={"unit": "m"})), "its dtype has metadata"),
        (np.array([object()], object), r"result\.items\[0\] is of type object"),
        (np.random.default_rng(1), "does not store"),
        (noted(np.matrix([[1]])), "it has attributes of its own, which would be lost: note"),
        (noted(np.rec.array([(1,)], dtype=[("a", "i1")])), "attributes of its own, which would be lost: note"),
        (noted(np.ma.masked_array([1])), "attributes of its own, which would be lost: note"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value: Any, said: str) -> None:
    with pytest.raises(EncodeError, match=said):
        encode(value)


def array_of(*parts: Any) -> bytes:
    """Return an array as somebody might have forged it."""
    return bytes(msgpack.packb([msgpack.ExtType(32, b""), *parts]))


@pytest.mark.parametrize(
    "parts",
    [
        ("|O", (1,), "C", bytes(8), None),
        ("|O8", (1,), "C", bytes(8), None),
        ("O", (1,), "C", bytes(8), None),
        ("i4,i4", (1,), "C", bytes(8), None),
        ("<f7", (1,), "C", bytes(7), None),
        ("<f8", (2,), "C", bytes(8), None),
        ("<f8", (-1,), "C", bytes(8), None),
        ("<f8", (1.0,), "C", bytes(8), None),
        ("<f8", (2**62, 2**62), "C", bytes(8), None),
        ("<f8", (0, 2**62, 2**62), "C", b"", None),
        ("<f8", (1,) * 70, "C", bytes(8), None),
        ("<f8", (1,), "K", bytes(8), None),
        ("<V99999999999", (1,), "C", bytes(8), None),
        ("<f8", (1,), "C", b"", [1.0]),
        ("|O", (2,), "C", b"", [1]),
        (["string", 1], (1,), "C", b"", ["a"]),
        (["string", True], (1,), "C", b"", [1]),
        (["array", "<f8", [2**40]], (1,), "C", bytes(8), None),
        (["fields", 8, False, False, ["a", 0, "|O"]], (1,), "C", bytes(8), None),
        (["fields", 8, False, False, ["a", 900, "<f8"]], (1,), "C", bytes(8), None),
        (["fields", 8, False, False, ["a", 0]], (1,), "C", bytes(8), None),
        (["fields", 8, False, False, ["a", -1, "|u1"]], (1,), "C", bytes(8), None),
        (["fields", 16, False, False, ["a", 2**31 - 1, "|b1"]], (2,), "C", bytes(32), None),
        (["fields", 16, False, False, ["a", 2**31 - 8, "|O"]], (1,), "C", b"", [[1]]),
        (
            ["fields", 116, False, False, ["a", 100, ["fields", 2**31 - 50, False, False, ["x", 0, "<u8"]]]],
            (1,),
            "C",
            bytes(116),
            None,
        ),
        (["array", "<f8", [0]], (1,), "C", b"", None),
        (["string", True, []], (1,), "C", b"", ["a"]),
        (["nothing"], (1,), "C", bytes(8), None),
        ("|b1", (1,), "C", b"\2", None),
        ("<U1", (1,), "C", b"\0\0\x11\0", None),
        ("<U0", (2**62,), "C", b"", None),
    ],
    ids=str,
)
def test_an_array_that_cannot_be_is_a_decode_error(parts: tuple[Any, ...]) -> None:
    with pytest.raises(DecodeError):
        decode(array_of(*parts))


@pytest.mark.parametrize("dtype", ["|S0", "<U0", "|V0", ["fields", 0, False, False]], ids=str)
def test_an_array_of_elements_without_bytes_takes_none(dtype: Any) -> None:
    assert peak(lambda: decode(array_of(dtype, (2**20,), "C", b"", None))) < 1 << 20


LONG = [msgpack.ExtType(8, b""), 0, 10**7, 1]  # a range, which takes no bytes


@pytest.mark.parametrize(
    "parts",
    [
        (32, LONG, [1], "C", b"", None),
        (32, ["array", "|O", [10**7]], [10**7], "C", b"", ["a"]),
        (32, ["fields", 0, False, False, LONG], [1], "C", b"", None),
        (32, ["string", True, LONG], [1], "C", b"", ["a"]),
        (32, "|O", LONG, "C", b"", []),
        (33, LONG),
        (36, [msgpack.ExtType(32, b""), "|O", [1], "C", b"", [1]], None, LONG, False),
        (38, LONG, b""),
        (42, "coo_array", LONG, [], False),
        (42, "coo_array", [msgpack.ExtType(1, b""), 1], LONG, False),
    ],
    ids=str,
)
def test_what_is_long_and_takes_no_bytes_is_not_gone_through(parts: tuple[Any, ...]) -> None:
    code, *rest = parts

    def read() -> None:
        with pytest.raises(DecodeError):
            decode(msgpack.packb([msgpack.ExtType(code, b""), *rest]))

    assert peak(read) < 1 << 20


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"])
def test_a_sparse_matrix_takes_memory_for_what_is_stored_and_not_for_its_shape(form: str) -> None:
    small = sp.coo_array(([1.0], ([0], [0])), shape=(3, 3))
    data = stored(getattr(sp, f"{form}_array")(small))
    shape = data.index(encode((3, 3))[0])
    data[shape : shape + len(encode((3, 3))[0])] = encode((2**22, 2**22))[0]

    def read() -> None:
        with contextlib.suppress(DecodeError):
            decode(data)

    assert peak(read) < 1 << 20


def test_a_sparse_matrix_that_points_outside_of_itself_is_a_decode_error() -> None:
    matrix = sp.csr_array(np.eye(3))
    matrix.indices[0] = 99
    with pytest.raises(DecodeError):
        decode(stored(matrix))


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "lil"])
@pytest.mark.parametrize("pointers", [[0, 1, 0, 0], [0, 1, -1, -1], [0, 3, 2, 3], [1, 1, 2, 3], [0, 1, 2, 4]], ids=str)
def test_a_sparse_matrix_whose_rows_are_out_of_order_is_a_decode_error(form: str, pointers: list[int]) -> None:
    """With any of these, scipy would read and write where nothing is its own."""
    data = stored(getattr(sp, f"{form}_array")(sp.csr_array(np.eye(3))))
    good, bad = (np.array(values, "i4").tobytes() for values in ([0, 1, 2, 3], pointers))
    assert data.count(good) == 1
    with pytest.raises(DecodeError):
        decode(data.replace(good, bad))


@given(st.sampled_from(VALUES), st.data())
def test_altered_arrays_are_arrays_or_decode_errors(value: Any, data: st.DataObject) -> None:
    altered = stored(value)
    at = data.draw(st.integers(0, min(len(altered), 200) - 1))
    altered[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DecodeError):
        decode(altered)
