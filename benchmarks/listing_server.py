"""A server that lists a million results of one function which nobody has stored: ListObjectsV2, and nothing else.

    python benchmarks/listing_server.py 1000000        prints its port, and serves until it is killed

Names are computed when they are asked for: digest and version follow from a number, in the order of names.
"""

from __future__ import annotations

import sys
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from s3memo.versions import Version, base32, tag_prefix

FUNCTION, TAG = "jobs.score", "1"
_PREFIX = tag_prefix(FUNCTION, TAG)
_VERSION = Version(1_790_000_000_000_000, 1_790_000_000_000_000, None, 12_345, "0123abcd").name
_ENTRY = "<Contents><Key>{}</Key><LastModified>2026-11-26T12:30:00.000Z</LastModified><ETag>&quot;{:032x}&quot;</ETag><Size>512</Size><StorageClass>STANDARD</StorageClass></Contents>"
_PAGE = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><KeyCount>{}</KeyCount><MaxKeys>{}</MaxKeys><IsTruncated>{}</IsTruncated>{}{}</ListBucketResult>'
_DIGITS = "0123456789abcdefghijklmnopqrstuv"


class Names:
    """So many names, evenly spread over all digests."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._step = 2**160 // count

    def name(self, number: int) -> str:
        """Return one of them, by its place."""
        return f"{_PREFIX}{base32((number * self._step).to_bytes(20, 'big'))}/{_VERSION}"

    def after(self, name: str) -> int:
        """Return the place of the first that sorts after a name."""
        rest = name.removeprefix(_PREFIX)
        if not rest or name < _PREFIX:
            return 0
        digest = rest[:32]
        place = 0
        for digit in digest.ljust(32, "0"):
            place = place * 32 + max(_DIGITS.find(digit), 0)
        number = -(-place // self._step)
        return number + (number < self.count and self.name(number) <= name)


class Handler(BaseHTTPRequestHandler):
    """Answers LIST."""

    protocol_version = "HTTP/1.1"
    names: Names

    def do_GET(self) -> None:
        """Answer one request."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        most = min(int(query.get("max-keys", 1000)), 1000)
        first = self.names.after(query.get("continuation-token") or query.get("start-after", ""))
        found = range(first, min(first + most, self.names.count))
        entries = "".join(_ENTRY.format(self.names.name(number), number) for number in found)
        is_truncated = bool(found) and found[-1] + 1 < self.names.count
        token = f"<NextContinuationToken>{self.names.name(found[-1])}</NextContinuationToken>" if is_truncated else ""
        body = _PAGE.format(len(found), most, str(is_truncated).lower(), token, entries).encode()
        self.send_response_only(200)
        self.send_header("Date", formatdate(usegmt=True))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    Handler.names = Names(int(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
