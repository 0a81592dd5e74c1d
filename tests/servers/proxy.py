"""A reverse proxy that counts: what a real server was sent, not what anybody believes to have sent."""

from __future__ import annotations

import http.client
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit

from tests.servers.recording import Behaviour, Exchange, RecordingServer
from tests.servers.server import S3Server

_BLOCK = 65536
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


class CountingProxy(RecordingServer):
    """Records requests and relays them to a server. A fault is a `behave` that answers itself, or calls `relay`."""

    def __init__(self, upstream: S3Server) -> None:
        self.relay = relay_to(upstream.endpoint)
        self._upstream = upstream
        super().__init__(self.relay)

    @property
    def server(self) -> S3Server:
        """The server, as it is reached through the proxy."""
        return replace(self._upstream, endpoint=self.endpoint)


def relay_to(endpoint: str) -> Behaviour:
    """Return what relays a request as it came, Host and all, so that its signature holds, and streams both bodies."""
    address = urlsplit(endpoint)

    def relay(exchange: Exchange) -> None:
        with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)) as upstream:
            _send(upstream, exchange)
            response = upstream.getresponse()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            if response.length is None:  # it ends where the connection does, or comes in chunks
                whole = response.read()
                exchange.begin_answer(response.status, headers | {"Content-Length": str(len(whole))})
                exchange.write(whole)
                return
            exchange.begin_answer(response.status, headers)
            while block := response.read(_BLOCK):
                exchange.write(block)

    return relay


def _send(upstream: http.client.HTTPConnection, exchange: Exchange) -> None:
    received = exchange.received
    upstream.putrequest(received.method, received.target, skip_host=True, skip_accept_encoding=True)
    for name, value in received.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            upstream.putheader(name, value)
    upstream.endheaders()
    while block := exchange.body.read(_BLOCK):
        upstream.send(block)
    if exchange.body.left:
        raise ConnectionError("the client has gone")
