"""How each peer caches a function, by its own documentation. Imports are local, so a process loads only one peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]

computed: list[int] = []
"""The numbers computed in this process, which excludes those read from a store."""


def summary(number: int) -> dict[str, Any]:
    """A stand-in for a slow function: its result is mutable, about 1 KiB."""
    computed.append(number)
    return {"number": number, "score": number / 7, "words": [f"word {number + n:05d}" for n in range(80)]}


def half(number: int) -> float:
    """A stand-in for a slow function: its result is a number."""
    computed.append(number)
    return number / 2


def total(number: int, share: float) -> float:
    """A stand-in for a slow function: it takes two scalars, and its result is a number."""
    computed.append(number)
    return number + share


def lru_cache(_place: str, function: Function) -> Function:
    import functools

    return functools.lru_cache(1_000_000, typed=True)(function)


def cachetools_ttl(_place: str, function: Function) -> Function:
    import cachetools.func

    return cachetools.func.ttl_cache(maxsize=1_000_000, ttl=36_000, typed=True)(function)


def cachebox_ttl(_place: str, function: Function) -> Function:
    import cachebox

    return cachebox.cached(cachebox.TTLCache(1_000_000, 36_000), key_maker=cachebox.make_typed_key)(function)


def cachier_memory(_place: str, function: Function) -> Function:
    import cachier

    return cachier.cachier(backend="memory")(function)


def cachier_pickle(place: str, function: Function) -> Function:
    import cachier

    return cachier.cachier(backend="pickle", cache_dir=f"{place}/cachier", separate_files=True)(function)


def cachier_s3(place: str, function: Function) -> Function:
    import boto3
    import cachier

    client = boto3.client("s3")
    bucket = place.removeprefix("s3://")
    return cachier.cachier(backend="s3", s3_bucket=bucket, s3_prefix="cachier", s3_client=client)(function)


def dogpile_memory(_place: str, function: Function) -> Function:
    from dogpile.cache import make_region

    return make_region().configure("dogpile.cache.memory", expiration_time=36_000).cache_on_arguments()(function)


def dogpile_dbm(place: str, function: Function) -> Function:
    from dogpile.cache import make_region

    arguments = {"filename": f"{place}/dogpile.dbm"}
    return make_region().configure("dogpile.cache.dbm", arguments=arguments).cache_on_arguments()(function)


def diskcache_memoize(place: str, function: Function) -> Function:
    import diskcache

    return diskcache.Cache(f"{place}/diskcache").memoize(typed=True)(function)


def joblib_memory(place: str, function: Function) -> Function:
    import joblib

    return joblib.Memory(f"{place}/joblib", verbose=0).cache(function)


def s3memo_place(place: str, function: Function) -> Function:
    """The embedded store of a directory, or a bucket by its URL; no memory tier, so that each call reads the store."""
    from s3memo import Cache

    return Cache(place, memory=None, on_error="raise").cached()(function)


def s3memo_obstore(place: str, function: Function) -> Function:
    return s3memo_place(place.replace("s3://", "s3+obstore://"), function)


def s3memo_memory(_place: str, function: Function) -> Function:
    """The memory tier in front of a store that keeps nothing."""
    from benchmarks.field.forgetful import ForgetfulStore
    from s3memo import Cache, MemoryTier

    tier = MemoryTier(max_entries=1_000_000)
    return Cache(ForgetfulStore(), memory=tier, on_error="raise").cached(ttl="10h")(function)


LACKS = {
    "functools.lru_cache": "no ttl; one process; callers share mutable results",
    "cachetools": "one process; callers share mutable results",
    "cachebox": "one process; copies mutable results one level deep",
    "cachier memory": "one process; callers share mutable results",
    "cachier pickle": "unpickles what it reads; does not notice code changes; one machine or a shared disk",
    "cachier S3": "unpickles what it reads; does not notice code changes",
    "dogpile memory": "one process; callers share mutable results; keys are str() of arguments, so 1 and '1' are one call",
    "dogpile dbm": "unpickles what it reads; does not notice code changes; one machine; 1 and '1' are one call",
    "diskcache memoize": "unpickles what it reads; does not notice code changes; one machine",
    "joblib.Memory": "unpickles what it reads; one machine or a shared disk",
    "raw boto3": "no cache: the bytes of a known name",
    "raw obstore": "no cache: the bytes of a known name",
}
"""What each lacks in comparison with s3memo."""

MAKERS: dict[str, Callable[[str, Function], Function]] = {
    "functools.lru_cache": lru_cache,
    "cachetools": cachetools_ttl,
    "cachebox": cachebox_ttl,
    "cachier memory": cachier_memory,
    "cachier pickle": cachier_pickle,
    "cachier S3": cachier_s3,
    "dogpile memory": dogpile_memory,
    "dogpile dbm": dogpile_dbm,
    "diskcache memoize": diskcache_memoize,
    "joblib.Memory": joblib_memory,
    "s3memo memory": s3memo_memory,
    "s3memo LocalStore": s3memo_place,
    "s3memo S3Store": s3memo_place,
    "s3memo ObjectStore": s3memo_obstore,
}
