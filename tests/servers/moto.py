"""moto, in threads of this process: the semantics of S3, without checking who asks; one request at a time.

For moto looks for an object and then writes it, so that of several racing creators more than one could be told that it won.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.servers.server import S3Server


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def answer(environment: Any, start_response: Any) -> Iterable[bytes]:
        with one_at_a_time:
            return list(application(environment, start_response))

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield S3Server("moto", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
