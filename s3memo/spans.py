"""What listings showed of digests: of a single one, or of a range packed into one text.

Pure: nothing here asks a store or reads a clock. Moments are POSIX seconds by the store's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from s3memo.versions import BASE32_DIGITS

END = "~"
"""Sorts after every digest."""

Name: TypeAlias = tuple[str, int]
"""The part of an object key below its function's prefix, and the object's size in bytes."""

DIGEST = 32
"""The length of a digest, in characters."""

_LONGEST_LINE = 256
_NEAR = 3000
"""Characters to search on both sides of a digest's expected place; enough for nearly all pages of a thousand names."""


class Known(NamedTuple):
    """What is known of one digest: the names and sizes of its versions, newest first, and when they were seen.

    Until `trusted_until` absences count as well.
    """

    versions: tuple[Name, ...]
    seen_at: float
    trusted_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """All names of the digests from `low` up to but not including `high`, as one listing showed them.

    They are one text with a line for each name, of about a hundred bytes. `asked` is the number of the listing.
    """

    low: str
    high: str
    names: str
    seen_at: float
    trusted_until: float = 0.0
    asked: int = 0
    _from: float = field(init=False, repr=False, compare=False)
    _density: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_from", place(self.low))
        object.__setattr__(self, "_density", len(self.names) / (self.width or 1.0))

    def find(self, digest: str) -> Known:
        """Return what it shows of a digest within it."""
        versions: list[Name] = []
        names, at = self.names, self._first_line(digest)
        while names.startswith(digest, at):
            end = names.index("\n", at)
            name, _, size = names[at + DIGEST + 1 : end].partition(" ")
            versions.append((name, int(size)))
            at = end + 1
        return Known(tuple(versions), self.seen_at, self.trusted_until)

    def digests(self, *, having: str = "") -> Iterator[str]:
        """Yield each digest with a version whose line contains `having`."""
        last = ""
        for line in self.names.splitlines():
            digest = line[:DIGEST]
            if digest != last and having in line:
                yield digest
                last = digest

    def patched(self, changes: Mapping[str, Known]) -> Span:
        """Return a copy with what is known of some digests within it replaced."""
        pieces, at = [], 0
        for digest, known in sorted(changes.items()):
            begin, end = self._offset(digest), self._offset(digest + END)
            pieces += [self.names[at:begin], *(f"{digest}/{name} {size}\n" for name, size in known.versions)]
            at = end
        return replace(self, names="".join([*pieces, self.names[at:]]))

    def part(self, low: str, high: str) -> Span:
        """Return the part between two digests within it."""
        names = self.names[self._offset(low) : self._offset(high)]
        return replace(self, low=low, high=high, names=names)

    @property
    def width(self) -> float:
        """The share of all digests that it covers."""
        return place(self.high) - place(self.low)

    def _first_line(self, digest: str) -> int:
        """Return the offset where a digest's first line begins, or would begin.

        Digests are spread as evenly as hashes, so it is first looked for around its expected place.
        """
        near = int((place(digest) - self._from) * self._density)
        start = max(near - _NEAR, 0)
        at = self.names.find(digest, start, near + _NEAR)
        is_first = at >= start + _LONGEST_LINE or (at >= 0 and not start)  # so none of its lines lies before
        return at if is_first else self._offset(digest)

    def _offset(self, digest: str) -> int:
        """Return the offset of the first line whose digest is not below this one."""
        low, high = 0, len(self.names)
        while low < high:
            middle = max(low, self.names.rfind("\n", low, (low + high) // 2) + 1)
            if self.names[middle : middle + DIGEST] < digest:
                low = self.names.index("\n", middle) + 1
            else:
                high = middle
        return low


def place(digest: str) -> float:
    """Return a digest's place among all digests, between 0 and 1."""
    if digest >= END:
        return 1.0
    try:
        return int(digest[:8].ljust(8, "0"), 32) / 32.0**8
    except ValueError:  # not one of our digests
        return sum(max(BASE32_DIGITS.find(digit), 0) / 32.0 ** (at + 1) for at, digit in enumerate(digest[:8]))
