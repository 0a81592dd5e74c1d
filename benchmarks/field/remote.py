"""Contests on the server: store hits, misses, batches, and the requests of each operation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3
import cachier
import numpy as np
from botocore.config import Config
from obstore.store import S3Store as RawObstore

from benchmarks import batch
from benchmarks.field.contest import LARGE, SMALL, Contest, Contestant, Field, Target, calling
from benchmarks.field.makers import LACKS
from s3memo import Cache, ObjectStore, S3Store
from s3memo.codec import encode
from tests.servers.engine import engine_on
from tests.servers.proxy import CountingProxy

VALUES = {"1 KiB": SMALL, "1 MB": LARGE}


def small(_number: int) -> dict[str, Any]:
    """A stand-in for a slow function that returns a dict of 1 KiB."""
    return SMALL


def large(_number: int) -> np.ndarray:
    """A stand-in for a slow function that returns an array of 1 MB."""
    return LARGE


FUNCTIONS = {"1 KiB": small, "1 MB": large}


def our_stores(field: Field, prefix: str) -> dict[str, Any]:
    """Return both our stores on the field's bucket."""
    return {
        "s3memo S3Store": S3Store(field.bucket, prefix, client_options=field.client_options),
        "s3memo ObjectStore": ObjectStore(f"s3+obstore://{field.bucket}/{prefix}"),
    }


def client(field: Field) -> Any:
    """Return a boto3 client without checksums unknown to the server, like s3memo's own."""
    config = Config(
        max_pool_connections=batch.THREADS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", config=config, **field.client_options)


def raw_bytes(raw: Any, bucket: str, object_key: str) -> bytes:
    """Return an object, read with boto3."""
    data: bytes = raw.get_object(Bucket=bucket, Key=object_key)["Body"].read()
    return data


def listed_and_read(engine: RawObstore, object_key: str) -> bytes:
    """Return an object, read with obstore given only its folder: the least work of a hit if its name is not known."""
    (found,) = engine.list(object_key[: object_key.rindex("/") + 1]).collect()
    return bytes(engine.get(found["path"]).bytes())


def by_cachier(field: Field, function: Callable[[int], Any], prefix: str) -> Any:
    """Return the function cached by cachier in the same bucket, with a ready client."""
    return cachier.cachier(backend="s3", s3_bucket=field.bucket, s3_prefix=prefix, s3_client=client(field))(function)


def store_hit(size: str) -> Callable[[Field], Any]:
    """Return the contest of store hits on values of one size."""

    @contextmanager
    def contest(field: Field) -> Iterator[Contest]:
        value, function = VALUES[size], FUNCTIONS[size]
        calls = field.sized(60 if size == "1 KiB" else 15, 2)
        prefix = f"hit-{calls}"
        contestants, caches = [], []
        for name, store in our_stores(field, prefix).items():
            for known, ttl in ((True, 3600), (False, 0)):
                cache = Cache(store, memory=None, names_ttl=ttl, on_error="raise")
                caches.append(cache)
                cached = cache.cached()(function)
                cached(1)
                if known:
                    cached.preload(trust_for=None)
                label = f"{name}, name {'known' if known else 'not known'}"
                contestants.append(calling(label, lambda cached=cached: cached(1), value, calls=calls))
                _only_reads(label, cached, lists=not known)
        entry = cached.cache_get(1)
        object_key = f"{prefix}/{cached.cache_key(1).prefix}{entry.version.name}"
        raw, other = client(field), by_cachier(field, function, "hit")
        engine = engine_on(field.bucket, field.client_options)
        data = bytes(store.get(object_key.removeprefix(f"{prefix}/")))
        contestants += [
            calling(
                "raw boto3",
                lambda: raw_bytes(raw, field.bucket, object_key),
                data,
                calls=calls,
                lacks=LACKS["raw boto3"],
            ),
            calling(
                "raw obstore",
                lambda: engine.get(object_key).bytes(),
                data,
                calls=calls,
                lacks=LACKS["raw obstore"],
            ),
            calling(
                "raw obstore, LIST and GET",
                lambda: listed_and_read(engine, object_key),
                data,
                calls=calls,
                lacks="no cache: the bytes of the only name in a folder",
            ),
            calling("cachier S3", lambda: other(1), value, calls=calls, lacks=LACKS["cachier S3"]),
        ]
        targets = [
            Target(f"{name}, name {known}", "raw boto3", most)
            for name, known, most in (
                ("s3memo S3Store", "known", 1.25),
                ("s3memo ObjectStore", "known", 0.7),
                ("s3memo S3Store", "not known", 2.2),
                ("s3memo ObjectStore", "not known", 1.2),
            )
        ]
        yield Contest(f"store_hit_{size.replace(' ', '')}", f"Store hit, {size}", contestants, targets)
        for cache in caches:
            cache.close()

    return contest


def _only_reads(label: str, cached: Any, *, lists: bool) -> None:
    """Refuse to measure a hit that sends other requests than it should."""
    before = cached.cache_info().requests
    cached(1)
    after = cached.cache_info().requests
    sent = {kind: after[kind] - before.get(kind, 0) for kind in after if after[kind] != before.get(kind, 0)}
    if sent != ({"LIST": 1, "GET": 1} if lists else {"GET": 1}):
        raise RuntimeError(f"{label} sends {sent}")


@contextmanager
def miss(field: Field) -> Iterator[Contest]:
    """A call that is computed and stored, of a function that takes no time."""
    calls, numbers = field.sized(40, 2), itertools.count()
    contestants = []
    for name, store in our_stores(field, "miss").items():
        cached = Cache(store, memory=None, on_error="raise").cached()(small)
        contestants.append(calling(name, lambda cached=cached: cached(next(numbers)), SMALL, calls=calls))
    raw, other = client(field), by_cachier(field, small, "miss")
    body = b"".join(bytes(part) for part in encode(SMALL))

    def list_and_put() -> None:
        key = f"raw/{next(numbers)}"
        raw.list_objects_v2(Bucket=field.bucket, Prefix=f"{key}/")
        raw.put_object(Bucket=field.bucket, Key=f"{key}/value", Body=body)

    contestants += [
        calling(
            "raw boto3, LIST and PUT", list_and_put, None, calls=calls, lacks="no cache: the bytes under a new name"
        ),
        calling("cachier S3", lambda: other(next(numbers)), SMALL, calls=calls, lacks=LACKS["cachier S3"]),
    ]
    targets = [
        Target("s3memo S3Store", "raw boto3, LIST and PUT", 1.15),
        Target("s3memo S3Store", "cachier S3", 0.5),
        Target("s3memo ObjectStore", "raw boto3, LIST and PUT", 1.15),
        Target("s3memo ObjectStore", "cachier S3", 0.5),
    ]
    yield Contest("miss", "Miss, 1 KiB, without the function's own time", contestants, targets)


@contextmanager
def warm_batch(field: Field) -> Iterator[Contest]:
    """Many stored results, read in threads by a process of its own."""
    results = field.sized(5_000, 20)
    settings = batch.filled(field.server, results)
    settings.pop("bytes")
    sides = {
        "s3memo S3Store": "map",
        "s3memo ObjectStore": "map_obstore",
        "raw boto3": "boto3",
        "raw obstore": "obstore",
        "cachier S3": "cachier",
    }
    contestants = [
        Contestant(name, lambda side=side: batch.run(side, settings)["seconds"], LACKS.get(name, ""))
        for name, side in sides.items()
    ]
    title = f"Batch of {results:,} stored results of 300 bytes, {batch.THREADS} threads"
    target = Target("s3memo ObjectStore", "raw boto3", 1 / 3)
    yield Contest("batch", title, contestants, [target], rounds=field.sized(3, 2))


@contextmanager
def requests(field: Field) -> Iterator[Contest]:
    """The requests of each operation, counted by a proxy in front of the server."""
    counted: list[Contestant] = []
    with CountingProxy(field.server) as proxy:
        through = replace(field, server=proxy.server)

        def count(name: str, call: Callable[[], Any]) -> None:
            proxy.reset()
            call()
            sent = proxy.counts()
            told = ", ".join(f"{number} {kind}" for kind, number in sorted(sent.items()))
            counted.append(Contestant(name, lambda: float(sum(sent.values())), told))

        store = S3Store(field.bucket, "counted", client_options=through.client_options)
        cache = Cache(store, memory=None, on_error="raise")
        stranger = Cache(store, memory=None, names_ttl=0, on_error="raise")  # trusts no name it has seen
        with cache, stranger:
            ours, theirs = cache.cached()(small), by_cachier(through, small, "counted")
            ours(0)
            theirs(0)
            count("s3memo: miss", lambda: ours(1))
            count("cachier S3: miss", lambda: theirs(1))
            count("s3memo: hit, name not known", lambda: stranger.cached()(small)(1))
            ours.preload()
            count("s3memo: hit, name known", lambda: ours(1))
            count("cachier S3: hit", lambda: theirs(1))
            count("s3memo: refresh", lambda: ours.cache_refresh(1))
            count("cachier S3: refresh", lambda: theirs(1, cachier__overwrite_cache=True))
    yield Contest("requests", "Requests of an operation, counted before the server", counted, unit="requests", rounds=1)
