"""`s3memo show` and `s3memo history`: one call's result, and all its versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from s3memo import envelope
from s3memo.cli.inventory import Living, describe, key_of, newest, since, versions
from s3memo.cli.place import Url, check_name, find_call, open_cache
from s3memo.cli.preview import decoded, preview
from s3memo.cli.screen import JsonDocument, facts, moment, print_json, screen, size, span, table
from s3memo.envelope import Envelope
from s3memo.errors import CodecError, NotFoundError
from s3memo.settings import current
from s3memo.stores.base import Buffer, Store
from s3memo.versions import MICROSECONDS, Listing, Version

KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="function/tag/digest, or mapping/digest; a unique beginning of the digest is enough."
    ),
]
_SIGNATURES = {
    "none": "none",
    "not verified": "not verified, for S3MEMO_SIGNING_KEYS is not set",
    "verified": "verified",
}
_MOST = 64_000_000
"""The most bytes that are read, or unpacked, for a preview."""

_CODECS = {"msgpack", "pickle"}  # the headers of both are read, but no pickled value


def show(key: KeyArgument, *, url: Url = None, as_json: JsonDocument = False) -> None:
    """Show the newest result of one call: where it came from, how old it is, and the beginning of its value.

    Runs no code of the value: objects of your own classes and pickled values are not shown. With S3MEMO_SIGNING_KEYS
    set, only signed values are trusted.

    Example: s3memo show jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/aebcjk
    """
    check_name(key)
    with open_cache(url) as cache:
        result, count = _find(cache.store, key)
        object_key = result.object_key
        document: dict[str, Any] = {**result.as_json(), "object": object_key, "versions": count}
        if result.size <= _MOST:
            try:
                document |= _read(cache.store.get(object_key), object_key)
            except CodecError as error:
                _print({**document, "problem": str(error)}, result, as_json=as_json)
                raise typer.Exit(1) from error
        else:
            document["problem"] = f"it is not read for a preview, since it takes over {size(_MOST)}"
        _print(document, result, as_json=as_json)


def history(key: KeyArgument, *, url: Url = None, as_json: JsonDocument = False) -> None:
    """List all versions of one call, newest first: its results, also superseded and buried ones, and tombstones.

    Example: s3memo history jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/aebcjk
    """
    check_name(key)
    with open_cache(url) as cache:
        latest = cache.store.time().latest
        prefix = find_call(cache.store, key)
        found, _ = versions(cache.store.list(prefix), latest)
    statuses = judged(found, latest)
    if as_json:
        rows = [
            {"status": status, **describe(version, latest), "size": found[version], "name": version.name}
            for version, status in statuses.items()
        ]
        print_json({"key": key_of(prefix), "versions": rows})
        return
    lines = [
        (
            moment(version.created_at),
            span(since(version.created / MICROSECONDS, latest)),
            status,
            "" if version.dead else size(found[version]),
            "" if version.dead else span(version.elapsed / 1000),
        )
        for version, status in statuses.items()
    ]
    screen().print(table({"created": False, "age": True, "status": False, "size": True, "took": True}, lines))


def judged(found: Mapping[Version, int], latest: float) -> dict[Version, str]:
    """Return the status of each of one call's versions."""
    listing = Listing(tuple(found))
    statuses = {}
    for version in found:
        if version.dead:
            statuses[version] = "tombstone"
        elif version == listing.newest:
            statuses[version] = "expired" if Living("", version, 0, latest).is_expired else "newest"
        else:
            is_buried = listing.tombstone is not None and version.created <= listing.tombstone
            statuses[version] = "buried" if is_buried else "superseded"
    return statuses


def _find(store: Store, key: str) -> tuple[Living, int]:
    """Return the result that a reader finds, and the number of versions. Raises NotFoundError."""
    prefix = find_call(store, key)
    latest = store.time().latest
    found, _ = versions(store.list(prefix), latest)
    result = newest(prefix, found, latest)
    if result is None:
        raise NotFoundError(f"{key!r} has no result: it was invalidated, or is foreign; see s3memo history {key}")
    return result, len(found)


def _read(data: Buffer, object_key: str) -> dict[str, Any]:
    """Return an object's header and a preview of its value. Raises CodecError if its header is not valid."""
    sealed = envelope.unseal(data, object_key=object_key, keys=current().signing_keys, codecs=_CODECS)
    document = _header(sealed)
    if sealed.header.raw_size > _MOST:
        return document | {"problem": f"it is not unpacked for a preview, since it takes over {size(_MOST)}"}
    try:
        return document | {"preview": preview(decoded(sealed))}
    except CodecError as error:
        return document | {"problem": str(error)}


def _header(sealed: Envelope) -> dict[str, Any]:
    header = sealed.header
    signature = "verified" if current().signing_keys else "not verified" if sealed.is_signed else "none"
    return {
        "function": header.function,
        "arguments": dict(header.arguments),
        "raised": header.raised,
        "codec": header.codec,
        "compression": header.compression,
        "raw_size": header.raw_size,
        "signature": signature,
        "python": header.python,
        "s3memo": header.s3memo,
    }


def _print(document: dict[str, Any], result: Living, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    stored = size(result.size)
    if "codec" in document:
        stored += f", {size(document['raw_size'])} as {document['codec']}"
        stored += f", compressed with {document['compression']}" if document["compression"] != "none" else ""
    others = document["versions"] - 1
    rows = {
        "key": document["key"],
        **{f"argument {name}": text for name, text in document.get("arguments", {}).items()},
        "created": f"{moment(result.version.created_at)}, {span(result.age)} ago",
        "ttl": _until(result),
        "took": f"{span(result.version.elapsed / 1000)} to compute",
        "size": stored,
        "function": document.get("function", ""),
        "written by": f"s3memo {document['s3memo']}, Python {document['python']}" if "python" in document else "",
        "signature": _SIGNATURES.get(document.get("signature", ""), ""),
        "history": f"{others} other version{'s' * (others != 1)}: s3memo history KEY" if others else "",
        "raised" if document.get("raised") else "value": document.get("preview", ""),
        "not shown": document.get("problem", ""),
    }
    screen().print(facts(rows))


def _until(result: Living) -> str:
    left = result.left
    if left is None:
        return "for ever"
    return f"{span(result.version.ttl or 0)}, " + (f"{span(left)} left" if left > 0 else f"expired {span(-left)} ago")
