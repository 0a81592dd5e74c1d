"""moto, as a process: the semantics of S3, without checking who asks; one request at a time.

For moto looks for an object and then writes it, so that of several racing creators more than one could be told that it won.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.server import S3Server, free_port, process

_ROOT = Path(__file__).parents[2]
_UNMEASURED = ["env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START"]
"""Its code is not ours to cover, and tracing would take most of its time."""


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto on a free port."""
    server = S3Server("moto", f"http://127.0.0.1:{free_port()}")
    with tempfile.TemporaryDirectory(prefix="moto-") as directory:
        command = [*_UNMEASURED, sys.executable, "-m", "tests.servers.moto", server.endpoint.rpartition(":")[2]]
        with process(command, endpoint=server.endpoint, log=Path(directory, "log"), cwd=_ROOT):
            yield server


def serve(port: int) -> None:
    """Answer until the process ends."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  of no use to whoever starts the process
        DomainDispatcherApplication,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def answer(environment: Any, start_response: Any) -> Iterable[bytes]:
        with one_at_a_time:
            return list(application(environment, start_response))

    make_server("127.0.0.1", port, answer, threaded=True).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
