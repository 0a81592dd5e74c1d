"""The requests to obstore, one function each: blocking, or across a bridge that lets a loop go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import obstore
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from s3memo.bridge import is_crossed, wait_for
from s3memo.stores.base import Buffer, PutMode
from s3memo.stores.objectstore.waiting import waited
from s3memo.stores.parts import cut, room_for

if TYPE_CHECKING:
    from obstore import GetResult, ListStream, ObjectMeta

Engine: TypeAlias = S3Store | GCSStore | AzureStore | MemoryStore
Page: TypeAlias = "Sequence[ObjectMeta]"

_BLOCK = 1024 * 1024


def read_first(engine: Engine, path: str) -> tuple[bytearray, ObjectMeta]:
    """Return a buffer of an object's size with its first part, for most objects the whole, and the metadata."""
    if is_crossed():
        return wait_for(_read_first_async(engine, path))
    answer = obstore.get(engine, path)
    if answer.meta["size"] <= _BLOCK:
        return bytearray(answer.bytes()), answer.meta
    data = room_for(answer.meta["size"], path)
    _fill(data, _first_of(data), answer)
    return data, answer.meta


async def _read_first_async(engine: Engine, path: str) -> tuple[bytearray, ObjectMeta]:
    answer = await obstore.get_async(engine, path)
    if answer.meta["size"] <= _BLOCK:
        return bytearray(await answer.bytes_async()), answer.meta
    data = room_for(answer.meta["size"], path)
    await _fill_async(data, _first_of(data), answer)
    return data, answer.meta


def read_part(engine: Engine, path: str, data: bytearray, part: slice) -> ObjectMeta:
    """Read a part of an object into the buffer for the whole; return the object's metadata."""
    if is_crossed():
        return wait_for(_read_part_async(engine, path, data, part))
    answer = obstore.get(engine, path, options={"range": (part.start, part.stop)})
    _fill(data, part, answer)
    return answer.meta


async def _read_part_async(engine: Engine, path: str, data: bytearray, part: slice) -> ObjectMeta:
    answer = await obstore.get_async(engine, path, options={"range": (part.start, part.stop)})
    await _fill_async(data, part, answer)
    return answer.meta


def _first_of(data: bytearray) -> slice:
    return next(iter(cut(len(data))), slice(0, 0))


def _fill(data: bytearray, part: slice, answer: GetResult) -> None:
    filling = _Filling(data, part)
    for block in answer.stream(_BLOCK):
        if filling.take(block):
            break
    filling.check()


async def _fill_async(data: bytearray, part: slice, answer: GetResult) -> None:
    filling = _Filling(data, part)
    async for block in answer.stream(_BLOCK):
        if filling.take(block):
            break
    filling.check()


class _Filling:
    """Fills one part of an object into the buffer for the whole."""

    def __init__(self, data: bytearray, part: slice) -> None:
        self._data = data
        self._filled: int = part.start
        self._end: int = part.stop

    def take(self, block: Buffer) -> bool:
        """Take the next block; return whether the part is complete."""
        taken = memoryview(block)[: self._end - self._filled]
        self._data[self._filled : self._filled + len(taken)] = taken
        self._filled += len(taken)
        return self._filled == self._end

    def check(self) -> None:
        """Raise ConnectionError if the part is not complete."""
        if self._filled < self._end:
            raise ConnectionError(f"the body ended {self._end - self._filled} bytes too early")


def read_all(engine: Engine, path: str) -> bytearray:
    """Return an object's bytes from one answer, however large it is."""
    answer = obstore.get(engine, path)
    data = room_for(answer.meta["size"], path)
    _fill(data, slice(0, len(data)), answer)
    return data


def write(engine: Engine, path: str, data: bytes, mode: PutMode) -> None:
    """Write an object in one request."""
    if is_crossed():
        wait_for(obstore.put_async(engine, path, data, mode=mode, use_multipart=False))
    else:
        obstore.put(engine, path, data, mode=mode, use_multipart=False)


def remove(engine: Engine, paths: str | Sequence[str]) -> None:
    """Delete objects."""
    if is_crossed():
        wait_for(obstore.delete_async(engine, paths))
    else:
        obstore.delete(engine, paths)


def next_chunk(stream: ListStream[Page], seconds: float) -> Page | None:
    """Return the next chunk of a listing, or None at its end. Raises TimeoutError if none came within `seconds`.

    If a server sends empty pages without end, obstore would never return; so a blocking call does not wait in it.
    """
    try:
        if is_crossed():
            return wait_for(_next_chunk(stream, seconds))
        return waited(stream.__anext__, seconds)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no names came within {seconds:g} seconds") from error


async def _next_chunk(stream: ListStream[Page], seconds: float) -> Page | None:
    async with asyncio.timeout(seconds):
        return await anext(stream, None)
