"""The promises of `targets`, on what hypothesis makes of good inputs and of nothing."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target, warm_up
from tests.fuzz.watch import nothing_happens

MEMORY = 8 << 20
"""Bytes that parsing a few KiB may take at most; what zstd reserves for a window is part of it."""


@st.composite
def mutations(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good input with some pieces cut out, put in, or replaced by others."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 8)))
        data = data[:start] + draw(st.binary(max_size=8) | st.sampled_from(seeds)) + data[stop:]
    return data


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_is_parsed_is_refused_in_words_and_does_nothing_else(target: Target) -> None:
    @given(mutations(target.seeds) | st.binary(max_size=300))
    def parse(data: bytes) -> None:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        with nothing_happens():
            target.check(data)
        assert tracemalloc.get_traced_memory()[1] - before < MEMORY

    warm_up(target)
    tracemalloc.start()
    try:
        parse()
    finally:
        tracemalloc.stop()
