"""The one lock for what this process keeps in memory.

It is held for moments only, never over a request or a call of the user's. fork() takes it first, so that the child
finds it free and nothing half changed.
"""

from __future__ import annotations

import os
import threading

process_lock = threading.RLock()
os.register_at_fork(
    before=process_lock.acquire, after_in_parent=process_lock.release, after_in_child=process_lock.release
)
