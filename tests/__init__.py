"""The tests. They fork beside threads, on purpose; here is what coverage needs to survive that.

Its tracer takes a lock whenever a thread enters another file, and a child that is forked just then would wait for it for
ever. fork() takes it first, as `s3memo.locks` does with its own. This stands here, where it comes before s3memo: what is
registered first is taken last, when no more code that is measured runs.
"""

from __future__ import annotations

import os

import coverage

_running = coverage.Coverage.current()
_lock = _running._collector.data_lock if _running and _running._collector else None
if _lock is not None:
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
