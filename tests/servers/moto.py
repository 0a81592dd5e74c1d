"""moto, in a thread of this process: the semantics of S3, without checking who asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from tests.servers.server import S3Server


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threaded = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    try:
        host, port = threaded.get_host_and_port()
        yield S3Server("moto", f"http://{host}:{port}")
    finally:
        threaded.stop()
