"""An HTTP server that records what it is asked and leaves the answer to a function: a script, or a real server behind it."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

Kind: TypeAlias = Literal["LIST", "GET", "PUT", "DELETE", "OTHER"]


@dataclass(frozen=True)
class Received:
    """One request as it came in: `target` is the raw path and query, `query` the parsed one."""

    method: str
    target: str
    headers: Message

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def kind(self) -> Kind:
        """What S3 bills it as; buckets are addressed by path."""
        bucket_only = "/" not in self.path.strip("/")
        is_upload = not {"uploads", "uploadId"}.isdisjoint(self.query)
        match self.method:
            case "GET" if bucket_only:
                return "LIST" if "list-type" in self.query else "OTHER"
            case "GET" | "HEAD":
                return "GET"
            case "PUT" | "POST" if is_upload or (self.method == "PUT" and not bucket_only):
                return "PUT"
            case "POST" if "delete" in self.query:
                return "DELETE"
            case "DELETE" if not bucket_only:
                return "DELETE"
        return "OTHER"


class Exchange:
    """A request that awaits its answer. What is left unread of its body is drained afterwards."""

    def __init__(self, handler: _Handler, received: Received) -> None:
        self.received = received
        self.body = _Body(handler.rfile, int(received.headers.get("Content-Length", 0)))
        self._handler = handler

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer; a Date header is added unless `headers` has one, and left out if it is empty there."""
        self.begin_answer(
            status, {"Date": formatdate(usegmt=True), "Content-Length": str(len(body))} | dict(headers or {})
        )
        self.write(body)

    def begin_answer(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and headers alone."""
        self._handler.send_response_only(status)
        for name, value in headers.items():
            if value:
                self._handler.send_header(name, value)
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        """Send a part of the answer's body."""
        if self.received.method != "HEAD":
            self._handler.wfile.write(data)

    def hang_up(self) -> None:
        """Close the connection, whatever was or was not answered."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the connection off with a RST, as a machine does that has crashed, or a firewall."""
        self._handler.close_connection = True
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())  # what was made from it would keep it open


class _Body:
    """As much of a connection's stream as belongs to one request; `left` bytes of it are still to come."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


Behaviour: TypeAlias = Callable[[Exchange], None]


class RecordingServer:
    """Runs within a with statement. `behave` answers each request, in its connection's thread; it may be replaced."""

    def __init__(self, behave: Behaviour, *, port: int = 0) -> None:
        self.behave = behave
        self.requests: list[Received] = []
        self._http = _Server(self, port)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def connections(self) -> int:
        """How many connections were made since the start."""
        return self._http.accepted

    def counts(self) -> dict[Kind, int]:
        """How many requests of each kind came in since the start or the last reset."""
        return dict(Counter(received.kind for received in list(self.requests)))

    def reset(self) -> None:
        self.requests.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, owner: RecordingServer, port: int) -> None:
        self.owner = owner
        self.accepted = 0
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted += 1
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the threads of connections that clients keep alive."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone: tests make them go."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        received = Received(self.command, self.path, self.headers)
        self.server.owner.requests.append(received)
        exchange = Exchange(self, received)
        self.server.owner.behave(exchange)
        while not self.close_connection and exchange.body.read(65536):
            pass

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  the names that http.server calls

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""
