"""A server that lists the results of a function, as many as one likes, and stores none: their names are computed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from s3memo.versions import Key, Version, base32
from tests.servers.recording import Exchange, RecordingServer
from tests.servers.server import S3Server, free_port, process

PROJECT = Path(__file__).parents[2]
_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_BEGAN = 1_795_000_000_000_000
_SIZE = 300


@dataclass(frozen=True)
class Names:
    """The object keys of so many results of one function, in order: `names[number]` computes one."""

    namespace: str
    tag: str
    count: int
    root: str = ""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < self.count:
            raise IndexError(number)
        moment = _BEGAN + 7_001 * number
        version = Version(moment, moment, None, 1_234, f"{number:08x}")
        return f"{self.root}{Key(self.namespace, self.tag, self.digest(number)).prefix}{version.name}"

    def digest(self, number: int) -> str:
        """Return the digest of one of them: anywhere in a part of the range of all digests that is its own."""
        noise = blake2b(number.to_bytes(8), digest_size=20).digest()
        place = ((number << 64) + int.from_bytes(noise[:8])) // self.count
        return base32(place.to_bytes(8) + noise[8:])

    def page(self, prefix: str, after: str, most: int) -> tuple[list[str], bool]:
        """Return the first ones that begin with `prefix` and sort after `after`, and whether there are more."""
        first = bisect_left(self, max(prefix, after))
        first += after != "" and first < self.count and self[first] == after
        end = bisect_left(self, prefix + "\U0010ffff")
        return [self[number] for number in range(first, min(end, first + most))], first + most < end


def lists(names: Names, exchange: Exchange) -> None:
    """Answer a LIST as S3 does; anything else is not there."""
    query = exchange.received.query
    if exchange.received.kind != "LIST":
        exchange.answer(404, b"<Error><Code>NoSuchKey</Code><Message>Nothing is stored here.</Message></Error>")
        return
    most = min(int(query.get("max-keys", 1000)), 1000)
    after = query.get("continuation-token") or query.get("start-after", "")
    found, goes_on = names.page(query.get("prefix", ""), after, most)
    token = f"<NextContinuationToken>{found[-1]}</NextContinuationToken>" if goes_on and found else ""
    contents = "".join(
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-11-23T06:30:00.000Z</LastModified>"
        "<ETag>&quot;70ee1738b6b21e2c8a43f3a5ab0eee71&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
        f"<Size>{_SIZE}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in found
    )
    page = (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult {_XMLNS}><KeyCount>{len(found)}</KeyCount>'
        f"<MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{str(goes_on).lower()}</IsTruncated>"
        f"{token}{contents}</ListBucketResult>"
    )
    exchange.answer(200, page.encode(), {"Content-Type": "application/xml"})


@contextmanager
def synthetic_server(names: Names) -> Iterator[S3Server]:
    """Run the server in a process of its own."""
    port = free_port()
    server = S3Server("synthetic", f"http://127.0.0.1:{port}")
    given = [names.namespace, names.tag, str(names.count), names.root]
    command = [sys.executable, "-m", "tests.servers.synthetic", str(port), *given]
    with (
        tempfile.TemporaryDirectory(prefix="synthetic-") as directory,
        process(command, endpoint=server.endpoint, log=Path(directory, "log"), cwd=PROJECT),
    ):
        yield server


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("namespace")
    parser.add_argument("tag")
    parser.add_argument("count", type=int)
    parser.add_argument("root")
    options = parser.parse_args()
    names = Names(options.namespace, options.tag, options.count, options.root)
    with RecordingServer(lambda exchange: lists(names, exchange), port=options.port):
        threading.Event().wait()


if __name__ == "__main__":
    main()
