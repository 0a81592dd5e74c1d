from __future__ import annotations

import platform
import random
import struct
from typing import Any
from zlib import crc32

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import s3memo
from s3memo import envelope
from s3memo.envelope import MAX_RATIO, Envelope, Header, zstd
from s3memo.errors import CodecError, DecodeError, IntegrityError, SettingsError
from s3memo.signing import NO_KEYS, SigningKeys
from tests.measuring import peak

KIB, MIB = 1 << 10, 1 << 20
NOISE = random.Random(0).randbytes(MIB)
WIDE_WINDOW = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
TEXT = b"".join(b"line %d of a text\n" % number for number in range(2000))
DICTIONARY = zstd.train_dict([TEXT[start : start + 500] for start in range(0, len(TEXT), 500)], 4 * KIB)
SKIPPABLE = struct.pack("<II", 0x184D2A50, 3) + b"abc"
FIELDS: dict[str, Any] = {"created": 1_795_415_423_123_456, "ttl": 3600, "elapsed": 1250, "function": "jobs.monthly"}
HEADER: dict[str, Any] = FIELDS | {
    "codec": "msgpack",
    "compression": "none",
    "raw_size": 3,
    "python": "3.11.7",
    "s3memo": "0.1.0",
}
KEYS = SigningKeys(("the key that signs here, of 32 or more bytes",))
OBJECT_KEY = "v1/memo/jobs.report/0/aaaa/1.s3m"
GOLDEN = bytes.fromhex(
    "73336d656d6f010000000085c688309a"
    "89a763726561746564cf000660ebba850000a374746ccd0e10a7656c6170736564cd04e2a866756e6374696f6eb36a6f"
    "62732e7265706f72742e6d6f6e74686c79a5636f646563a76d73677061636bab636f6d7072657373696f6ea46e6f6e65"
    "a87261775f73697a6504a6707974686f6ea6332e31312e37a673336d656d6fa5302e312e3000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000093010203"
)
GOLDEN_SIGNED = bytes.fromhex(
    "73336d656d6f0101000000980bf2d34c"
    "20221875fadc9ed57218adc51e1bd2a3a324dead4c236e1cd32a31eeccb826f8"
    "8aa763726561746564cf000660ebba850000a374746ccd0e10a7656c6170736564cd04e2a866756e6374696f6eb36a6f"
    "62732e7265706f72742e6d6f6e74686c79a5636f646563a76d73677061636bab636f6d7072657373696f6ea46e6f6e65"
    "a87261775f73697a6504a6707974686f6ea6332e31312e37a673336d656d6fa5302e312e30a9617267756d656e747381"
    "a56d6f6e7468a137"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000093010203"
)


def seal(payload: Any, **fields: Any) -> bytes:
    """An envelope of one piece that nobody signed."""
    sealed = envelope.seal([payload], object_key="", keys=NO_KEYS, **fields)
    assert isinstance(sealed.data, bytes)
    return sealed.data


def opened(data: Any) -> Envelope:
    return envelope.unseal(data, object_key="", keys=NO_KEYS)


def unseal(data: Any) -> tuple[Header, memoryview]:
    """The header and the payload of an envelope that nobody signed."""
    found = opened(data)
    return found.header, found.payload()


def forge(header: object, payload: bytes = b"abc", *, number: int = 1, size: int | None = None) -> bytes:
    """An envelope as the module's docstring draws it, with a right checksum around anything."""
    packed = header if isinstance(header, bytes) else msgpack.packb(header, unicode_errors="surrogatepass")
    start = b"s3memo" + bytes([number, 0]) + struct.pack(">I", len(packed) if size is None else size)
    body = packed.ljust(-(-(16 + len(packed)) // 64) * 64 - 16, b"\0") + payload
    return start + struct.pack(">I", crc32(start + body)) + body


def zeros_frame(size: int) -> bytes:
    """That many zeros as one zstd frame, made without holding them."""
    compressor = zstd.ZstdCompressor(level=3)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join(pieces) + compressor.flush()


@given(
    st.builds(bytes.__mul__, st.binary(max_size=100), st.integers(1, 1000)),
    st.integers(0, 2**56),
    st.none() | st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.text(st.characters(exclude_categories=())),
    st.sampled_from(["auto", "none"]),
)
def test_an_envelope_returns_what_it_was_given(  # noqa: PLR0917  hypothesis passes them in order
    payload: bytes, created: int, ttl: int | None, elapsed: int, function: str, compression: Any
) -> None:
    sealed = seal(payload, created=created, ttl=ttl, elapsed=elapsed, function=function, compression=compression)
    header, unsealed = unseal(sealed)
    assert unsealed == payload
    assert header == Header(
        created=created,
        ttl=ttl,
        elapsed=elapsed,
        function=function,
        codec="msgpack",
        compression=header.compression,
        raw_size=len(payload),
        python=platform.python_version(),
        s3memo=s3memo.__version__,
    )


def test_a_payload_that_was_not_compressed_is_an_aligned_view_of_the_object() -> None:
    for name_length in range(70):
        sealed = seal(b"abc", **FIELDS | {"function": "f" * name_length})
        _, payload = unseal(sealed)
        assert payload.obj is sealed
        assert (len(sealed) - len(payload)) % 64 == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_sealed_and_unsealed(kind: Any) -> None:
    for payload in (b"", b"abc", b"abc" * KIB):
        _, unsealed = unseal(kind(seal(kind(payload), **FIELDS)))
        assert unsealed == payload


def test_a_payload_of_wider_items_is_measured_in_bytes() -> None:
    numbers = memoryview(bytes(range(64))).cast("q")
    header, payload = unseal(seal(numbers, **FIELDS))
    assert header.raw_size == 64
    assert payload == bytes(range(64))


@pytest.mark.parametrize(
    ("payload", "compression"),
    [
        (b"a" * (KIB - 1), "none"),
        (b"a" * KIB, "zstd"),
        (NOISE[: 10 * KIB], "none"),
        (b"a" * MIB, "zstd"),
        (NOISE[: 200 * KIB] + b"a" * 50 * KIB, "none"),  # the sample is from the middle
        (NOISE[: 100 * KIB] + b"a" * 70 * KIB + NOISE[: 100 * KIB], "zstd"),
        (NOISE[: 500 * KIB] + b"a" * 66 * KIB + NOISE[500 * KIB :], "none"),  # the sample promised too much
    ],
    ids=range(7),
)
def test_compression_is_used_where_it_helps(payload: bytes, compression: str) -> None:
    header, unsealed = unseal(seal(payload, **FIELDS))
    assert header.compression == compression
    assert header.raw_size == len(payload)
    assert unsealed == payload


@given(st.lists(st.integers(0, 200_000), max_size=5), st.booleans(), st.booleans())
def test_pieces_are_sealed_as_if_they_were_one(sizes: list[int], noisy: bool, signed: bool) -> None:
    pieces = [memoryview(NOISE if noisy else bytes(MIB))[:size] for size in sizes]
    keys = KEYS if signed else NO_KEYS
    sealed = envelope.seal(pieces, object_key=OBJECT_KEY, keys=keys, **FIELDS)
    found = envelope.unseal(sealed.data, object_key=OBJECT_KEY, keys=keys)
    assert found.header == sealed.header
    assert found.payload() == sealed.payload() == b"".join(pieces)
    assert sealed.payload().readonly is (sealed.header.compression == "none")
    if not signed:
        assert seal(b"".join(pieces), **FIELDS) == sealed.data


@pytest.mark.parametrize(("noise", "compression"), [(100 * KIB, "zstd"), (400 * KIB, "none")])
def test_the_sample_is_drawn_across_pieces(noise: int, compression: str) -> None:
    pieces = [NOISE[:noise], b"a" * 35 * KIB, b"a" * 35 * KIB, NOISE[-noise:]]
    sealed = envelope.seal(pieces, object_key="", keys=NO_KEYS, **FIELDS)
    assert sealed.header.compression == compression
    assert opened(sealed.data).payload() == b"".join(pieces)


def test_a_payload_of_pieces_that_are_empty_is_empty() -> None:
    sealed = envelope.seal([b"", memoryview(bytearray()), bytearray()], object_key="", keys=NO_KEYS, **FIELDS)
    assert sealed.header.raw_size == 0
    assert opened(sealed.data).payload() == b""


def test_sealing_takes_no_more_memory_than_what_is_sealed() -> None:
    noise = [random.Random(seed).randbytes(8 * MIB) for seed in range(2)]
    assert peak(lambda: envelope.seal(noise, object_key=OBJECT_KEY, keys=KEYS, **FIELDS)) < 16.5 * MIB
    text = [bytes(range(256)) * 32 * KIB] * 2
    assert peak(lambda: envelope.seal(text, object_key=OBJECT_KEY, keys=KEYS, **FIELDS)) < MIB


def test_unsealing_takes_no_more_memory_than_what_it_returns() -> None:
    plain, packed = seal(random.Random(0).randbytes(8 * MIB), **FIELDS), seal(bytes(8 * MIB), **FIELDS)
    assert peak(lambda: unseal(plain)) < MIB
    assert peak(lambda: unseal(packed)) < 8.5 * MIB


def test_a_payload_is_as_writable_as_the_object_and_always_once_it_was_unpacked() -> None:
    sealed = seal(b"abc", **FIELDS)
    assert unseal(sealed)[1].readonly
    _, payload = unseal(bytearray(sealed))
    payload[0] = 0
    for kind in (bytes, bytearray):
        found = opened(kind(seal(b"a" * MIB, **FIELDS)))
        found.payload()[0] = 0
        assert found.payload() == b"a" * MIB, "each is a buffer of its own"


def test_compression_can_be_turned_off() -> None:
    header, _ = unseal(seal(b"a" * MIB, **FIELDS, compression="none"))
    assert header.compression == "none"


def test_what_compresses_extremely_well_is_kept_within_the_ratio_that_is_read() -> None:
    payload = bytes(64 * MIB)
    sealed = seal(payload, **FIELDS)
    assert 64 * KIB <= len(sealed) < 65 * KIB
    assert unseal(sealed)[1] == payload


def test_a_word_that_means_nothing_is_refused_when_sealing() -> None:
    with pytest.raises(SettingsError, match='compression=\'zip\' is unknown: use "auto" or "none"'):
        seal(b"", **FIELDS, compression="zip")


def test_what_was_once_written_can_be_read_for_ever() -> None:
    header, payload = unseal(GOLDEN)
    assert header == Header(
        created=1_795_415_423_123_456,
        ttl=3600,
        elapsed=1250,
        function="jobs.report.monthly",
        codec="msgpack",
        compression="none",
        raw_size=4,
        python="3.11.7",
        s3memo="0.1.0",
    )
    assert payload == b"\x93\x01\x02\x03"


def test_what_was_once_signed_can_be_read_for_ever() -> None:
    found = envelope.unseal(GOLDEN_SIGNED, object_key=OBJECT_KEY, keys=KEYS)
    assert found.payload() == b"\x93\x01\x02\x03"
    assert found.header.arguments == {"month": "7"}
    assert opened(GOLDEN_SIGNED) == found, "who has no keys cannot tell, and reads it as if it were plain"


def test_the_mac_is_of_what_the_docstring_says() -> None:
    sealed = envelope.seal([b"abc"], object_key=OBJECT_KEY, keys=KEYS, **FIELDS).data
    name = OBJECT_KEY.encode()
    signed = sealed[:16] + struct.pack(">I", len(name)) + name + sealed[48:]
    assert sealed[16:48] == KEYS.sign([signed])
    assert sealed[12:16] == struct.pack(">I", crc32(sealed[:12] + sealed[48:]))


def test_only_the_name_and_a_key_that_signed_it_open_a_signed_object() -> None:
    other = SigningKeys(("another key, and that is of 32 bytes too",))
    old, new = (
        KEYS,
        SigningKeys(("another key, and that is of 32 bytes too", "the key that signs here, of 32 or more bytes")),
    )
    sealed = envelope.seal([b"abc"], object_key=OBJECT_KEY, keys=old, **FIELDS)
    assert envelope.unseal(sealed.data, object_key=OBJECT_KEY, keys=new).payload() == b"abc"
    for object_key, keys in ((OBJECT_KEY + "x", old), ("", old), (OBJECT_KEY, other)):
        with pytest.raises(IntegrityError, match="altered or moved since it was signed, or by a key that is none of"):
            envelope.unseal(sealed.data, object_key=object_key, keys=keys)
    plain = envelope.seal([b"abc"], object_key=OBJECT_KEY, keys=NO_KEYS, **FIELDS)
    with pytest.raises(IntegrityError, match="is not signed, and a cache with signing keys believes only what is"):
        envelope.unseal(plain.data, object_key=OBJECT_KEY, keys=old)


def test_nothing_of_an_object_is_parsed_before_its_mac_is_known_to_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgpack, "unpackb", lambda *_args, **_options: pytest.fail("a header was parsed"))
    plain = forge(HEADER)
    signed = plain[:7] + b"\x01" + plain[8:16] + bytes(32) + plain[16:]
    for data in (plain, signed, signed[:40]):
        with pytest.raises(IntegrityError):
            envelope.unseal(data, object_key=OBJECT_KEY, keys=KEYS)


def test_a_compressed_payload_can_be_read_for_ever() -> None:
    frame = bytes.fromhex("28b52ffd6000044d00001061610100fbfc000b")
    assert unseal(forge(HEADER | {"compression": "zstd", "raw_size": 1280}, frame))[1] == b"a" * 1280


@pytest.mark.parametrize("sealed", [GOLDEN, seal(b"result " * 300, **FIELDS)], ids=["plain", "compressed"])
def test_every_flipped_bit_and_every_cut_is_found(sealed: bytes) -> None:
    unseal(sealed)
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError if bit >= 8 * 8 else CodecError):
            unseal(altered)
    for length in range(len(sealed)):
        with pytest.raises(IntegrityError if length >= 16 else DecodeError):
            unseal(sealed[:length])
    with pytest.raises(IntegrityError, match="altered or cut short"):
        unseal(sealed + b"\0")


def test_every_flipped_bit_and_every_cut_of_a_signed_object_is_found() -> None:
    signed = bytes(envelope.seal([b"abc"], object_key=OBJECT_KEY, keys=KEYS, **FIELDS).data)
    for bit in range(8 * len(signed)):
        altered = bytearray(signed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError if bit >= 8 * 8 else CodecError):
            envelope.unseal(altered, object_key=OBJECT_KEY, keys=KEYS)
    for length in range(len(signed)):
        with pytest.raises(IntegrityError if length >= 16 else DecodeError):
            envelope.unseal(signed[:length], object_key=OBJECT_KEY, keys=KEYS)


@given(st.binary(max_size=200), st.booleans())
def test_bytes_from_anywhere_are_refused(data: bytes, ours: bool) -> None:
    with pytest.raises(CodecError):
        unseal(b"s3memo\x01\x00" + data if ours else data)
    with pytest.raises(CodecError):
        envelope.unseal(b"s3memo\x01\x01" + data if ours else data, object_key="", keys=KEYS)


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_any_header_under_a_right_checksum_is_refused_as_one(header: bytes, payload: bytes) -> None:
    with pytest.raises(DecodeError):
        unseal(forge(header, payload))


def test_an_object_that_is_not_ours_or_too_new_is_told_apart() -> None:
    with pytest.raises(DecodeError, match="the object, of 5 bytes, is not one that s3memo wrote"):
        unseal(b"hello")
    with pytest.raises(DecodeError, match="is in format 2, variant 0, written by a newer s3memo: upgrade this one"):
        unseal(forge(HEADER, number=2))


def test_fields_of_a_later_version_are_ignored() -> None:
    header, payload = unseal(forge(HEADER | {"later": [1, {"a": (2,)}], "mac": b"x" * 32}))
    assert header == Header(**HEADER)
    assert payload == b"abc"


@pytest.mark.parametrize("name", HEADER)
def test_a_header_that_lacks_a_field_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match=f"header lacks '{name}'"):
        unseal(forge({field: value for field, value in HEADER.items() if field != name}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created", 1.5),
        ("created", True),
        ("created", -1),
        ("created", None),
        ("ttl", "60"),
        ("ttl", -60),
        ("elapsed", None),
        ("function", b"f"),
        ("codec", 1),
        ("raw_size", 3.0),
        ("raw_size", -3),
        ("python", [3, 11]),
        ("arguments", ["a"]),
        ("arguments", {"a": 1}),
        ("arguments", {b"a": "1"}),
        ("s3memo", None),
    ],
)
def test_a_field_of_a_wrong_type_or_sign_is_refused(name: str, value: object) -> None:
    with pytest.raises(DecodeError, match=f"impossible '{name}'"):
        unseal(forge(HEADER | {name: value}))


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (forge([1, 2]), "header is no map, but of type list"),
        (forge({}), "header lacks 'created'"),
        (forge(b"\xc1"), "header cannot be read: FormatError"),
        (forge(b""), "header cannot be read: ValueError"),
        (forge(b"\x81" * 2000), "header cannot be read: "),
        (forge(HEADER, size=10**6), "header of 1000000 bytes does not fit"),
        (forge(HEADER | {"codec": "pickle"}), "with the codec 'pickle', and this cache reads msgpack"),
        (forge(HEADER | {"compression": "lzma"}), "compressed with 'lzma', which this version does not know"),
        (forge(HEADER | {"raw_size": 4}), "promises 4 bytes, and 3 are there"),
        (forge(HEADER | {"compression": "zstd"}), "cannot be decompressed: "),
    ],
    ids=lambda argument: argument if isinstance(argument, str) else "",
)
def test_a_forged_header_is_refused_in_words(forged: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        unseal(forged)


@pytest.mark.parametrize(
    ("payload", "raw_size"),
    [
        (zstd.compress(b"abc"), 2),
        (zstd.compress(b"abc"), 4),
        (zstd.compress(b"abc"), 0),
        (zstd.compress(b"abc")[:-1], 3),
        (zstd.compress(b"abc") + b"x", 3),
        (zstd.compress(b"abc") * 2, 6),
        (zstd.compress(b"abc") * 2, 3),
        (b"", 0),
        (WIDE_WINDOW.compress(NOISE) + WIDE_WINDOW.flush(), MIB),
        (zstd.compress(zstd.compress(b"abc" * KIB)), 3 * KIB),  # unpacked once, not until it is no more a frame
        (zstd.compress(b"abc") + zstd.compress(b""), 3),
        (SKIPPABLE + zstd.compress(b"abc"), 3),
        (zstd.compress(b"abc") + SKIPPABLE, 3),
        (zstd.compress(TEXT, zstd_dict=DICTIONARY), len(TEXT)),
        (zstd.compress(bytes(128 * KIB + 1)), 128 * KIB),
        (zstd.compress(NOISE[: 300 * KIB]), 299 * KIB),
        (zstd.compress(NOISE[: 300 * KIB])[:-KIB], 300 * KIB),
        (zstd.compress(NOISE[: 300 * KIB]) + bytes(200 * KIB) + b"x", 300 * KIB),
    ],
    ids=range(18),
)
def test_a_payload_that_is_not_one_frame_of_the_promised_size_is_refused(payload: bytes, raw_size: int) -> None:
    with pytest.raises(DecodeError):
        unseal(forge(HEADER | {"compression": "zstd", "raw_size": raw_size}, payload))


@pytest.mark.parametrize("raw_size", [100, MIB, 1 << 30, 1 << 60])
def test_a_bomb_takes_no_more_memory_than_its_size_justifies(raw_size: int) -> None:
    bomb = forge(HEADER | {"compression": "zstd", "raw_size": raw_size}, zeros_frame(1 << 30))

    def refuse() -> None:
        with pytest.raises(DecodeError, match=f"over {MAX_RATIO} times as many|not one zstd frame"):
            unseal(bomb)

    assert peak(refuse) < 3 * MIB


def test_a_payload_that_does_not_fit_into_memory_is_refused_as_one_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_memory(size: int) -> bytearray:
        raise MemoryError

    sealed = seal(b"result " * 300, **FIELDS)
    monkeypatch.setattr(envelope, "bytearray", out_of_memory, raising=False)
    with pytest.raises(DecodeError, match="the 2100 bytes that the payload unpacks to do not fit into memory"):
        unseal(sealed)


def test_lengths_that_a_header_claims_take_no_memory() -> None:
    arrays = (b"\xdd" + (MIB - 1).to_bytes(4, "big")) * 1000

    def refuse() -> None:
        with pytest.raises(DecodeError, match="header cannot be read"):
            unseal(forge(arrays.ljust(MIB, b"\xc0")))

    assert peak(refuse) < 8 * MIB


def test_a_frame_of_nothing_but_empty_blocks_ends_with_its_input() -> None:
    frame = zstd.compress(b"")[:-3]  # its header, without its last block
    bomb = forge(HEADER | {"compression": "zstd", "raw_size": 1}, frame + bytes(3) * MIB)
    with pytest.raises(DecodeError, match=r"not one zstd frame|cannot be decompressed"):
        unseal(bomb)
