"""Names of the objects that trials of a store write: unique to each trial, and recognizable if it was killed."""

from __future__ import annotations

import os
import re

from s3memo.stores.base import ObjectInfo

PROBE_ROOT = "v1/probe/"

SHAPES = ("a-b", "a.b", "a/b", "a0b", "a=b", "aAb", "a_b", "aab")
"""Names whose order changes if they are sorted by locale, by folder, or ignoring case."""

_RACE = re.compile(rf"{PROBE_ROOT}[0-9a-f]{{32}}", re.ASCII)
_NAMED = re.compile(rf"{PROBE_ROOT}[0-9a-f]{{16}}/(?:{'|'.join(map(re.escape, SHAPES))}|n\d{{1,2}})", re.ASCII)
_EMPTY = re.compile(rf"{PROBE_ROOT}[0-9a-f]{{16}}/trial", re.ASCII)


def race_key() -> str:
    """Return a new object key for racing writers; each writes one byte."""
    return PROBE_ROOT + os.urandom(16).hex()


def trial_folder() -> str:
    """Return a new prefix for `trial`, which is empty, and for samples, which hold their own object keys."""
    return f"{PROBE_ROOT}{os.urandom(8).hex()}/"


def is_of_trial(info: ObjectInfo) -> bool:
    """Whether an object is a trial's by its name and size; a marker, which stays, is longer."""
    by_size = {0: _EMPTY, 1: _RACE, len(info.key): _NAMED}
    names = by_size.get(info.size)
    return names is not None and names.fullmatch(info.key) is not None
