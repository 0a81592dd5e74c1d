"""Pages of a listing and batches of a delete, cut and counted as S3 bills them, whatever the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from s3memo.events import count_request
from s3memo.stores.base import PAGE_SIZE, ObjectInfo

Item = TypeVar("Item")


def list_in_pages(
    read: Callable[[str, str, int], list[ObjectInfo]], prefix: str, start_after: str, limit: int | None
) -> Iterator[ObjectInfo]:
    """Yield a listing page by page.

    `read(prefix, low, count)` returns the first `count` objects whose key starts with `prefix` and is not below `low`.
    """
    left = limit
    while left is None or left > 0:
        size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        count_request("LIST")
        found = read(prefix, max(prefix, _successor(start_after)), size + 1)
        yield from found[:size]
        if len(found) <= size:
            return
        start_after = found[size - 1].key
        left = None if left is None else left - size


def delete_batches(object_keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield the keys in batches of PAGE_SIZE, and count a DELETE for each."""
    for batch in batches(object_keys):
        count_request("DELETE")
        yield batch


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the items in batches of PAGE_SIZE."""
    remaining = iter(items)
    while batch := list(islice(remaining, PAGE_SIZE)):
        yield batch


def _successor(key: str) -> str:
    """Return the smallest string that sorts after `key`."""
    return key + "\0"
