"""One value in a store, changed by compare-and-swap: version n + 1 is created, never overwritten, by whoever is first.

A create-only write has one winner for each number, so no clock takes part in who follows whom. What can still go wrong
is decided here: an answer that is lost, a number that was used before and collected, a writer that slept meanwhile.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from s3memo import bridge, codec, envelope
from s3memo.createonly import check_create_only
from s3memo.errors import AlreadyExistsError, DecodeError, NotFoundError, StoreError, StoreUnavailableError
from s3memo.events import Recorder
from s3memo.packing import Packing
from s3memo.sequences import RETENTION, SWEEP_EVERY, TRUST, Chain, StateVersion, sequence_name
from s3memo.signing import NO_KEYS
from s3memo.stores.base import PAGE_SIZE, Buffer, Store
from s3memo.stores.clock import local_clock
from s3memo.versions import MICROSECONDS

PUTS = 3
"""How often a PUT without an answer is sent, each time with all the patience of the store itself."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_UNSIGNED = Packing("msgpack", "auto", NO_KEYS)


@dataclass(frozen=True, slots=True)
class Record:
    """What one version says: `payload` is the encoded value, None for a tombstone; `put_id` tells its write from others."""

    number: int
    payload: Buffer | None = None
    writer: str = "a writer that cleared it"
    put_id: bytes = b""


@dataclass
class Register:
    """The versions below a prefix of a store, of which `keep` stay; `recorder` is told of trouble that was survived.

    `packing` says how they are compressed and signed; the codec is always msgpack. `clock` is a local one that nobody
    sets, in seconds; `puts` is how often a PUT without an answer is sent. Every method may raise a StoreError or a
    CodecError; an error whose `maybe_applied` is true comes of a write that may have taken effect, or may yet.
    """

    store: Store
    prefix: str
    keep: int
    recorder: Recorder
    packing: Packing = _UNSIGNED
    clock: Callable[[], float] = local_clock
    sleep: Callable[[float], None] = bridge.sleep
    jitter: Callable[[], float] = field(default=random.random)
    puts: int = PUTS

    retention = RETENTION

    def __str__(self) -> str:
        return f"{self.recorder.function} in {self.store.url}"

    def newest(self) -> StateVersion | None:
        """Return the version that counts, or None if a complete listing has none."""
        found = list(self.store.list(self.prefix, limit=1))
        chain = Chain.of(found, self.prefix)
        return chain.newest if chain.versions or not found else self.look().newest  # that one is somebody else's

    def look(self, *, whole: bool = False) -> Chain:
        """Return what the first page that shows any version shows, or with `whole` all versions."""
        asked, start_after = self.clock(), ""
        while True:
            page = list(self.store.list(self.prefix, start_after=start_after, limit=None if whole else PAGE_SIZE))
            listed_at = self.store.time().earliest - (self.clock() - asked)
            chain = Chain.of(page, self.prefix, listed_at=listed_at)
            if chain.versions or whole or len(page) < PAGE_SIZE:
                return chain
            start_after = page[-1].key

    def read(self, number: int) -> Record:
        """GET one version; NotFoundError if it was collected."""
        object_key = self._object_key(number)
        data = self.store.get(object_key)
        if not len(data):
            return Record(number)
        match codec.decode(envelope.unseal(data, object_key=object_key, keys=self.packing.keys).payload()):
            case [bytes() as put_id, str() as writer, bytes() as payload]:
                return Record(number, payload, writer, put_id)
        raise DecodeError(f"version {number} of {self} is not one that s3memo wrote")

    def append(self, chain: Chain, payload: Buffer | None) -> Record | None:
        """Write the version that follows what `chain` showed, a tombstone for None; return None, or who was first.

        Raises StoreNotSupportedError where create-only is not enforced. A failed clean-up is reported, not raised.
        """
        check_create_only(self.store)
        number = chain.number + 1
        put_id = b"" if payload is None else os.urandom(16)  # of two tombstones each does what the other was to do
        sent_at = self.store.time().earliest
        created = self._create(number, self._seal(self._object_key(number), put_id, payload))
        rival = None if created else self._rival(number, put_id)
        answered_at = self.store.time().latest
        took_long = answered_at - sent_at > TRUST
        if rival is not None:
            if took_long:
                raise self._in_doubt(number, "it took so long that its own write may have been collected")
            return rival
        if answered_at - chain.listed_at > TRUST:
            return self._confirm(number, took_long=took_long)
        self._sweep(chain, number)
        return None

    def pause(self, tried: int) -> None:
        """Wait before one more attempt; the more there were, the longer, and no two writers alike."""
        self.sleep(self.jitter() * min(_FIRST_PAUSE * 2 ** (tried - 1), _LONGEST_PAUSE))

    def _create(self, number: int, data: Buffer) -> bool:
        """PUT until there is an answer; return whether it made the object."""
        for tried in count(1):
            try:
                self.store.put(self._object_key(number), data, mode="create")
            except AlreadyExistsError:
                return False
            except StoreUnavailableError as error:
                if tried == self.puts:
                    raise self._in_doubt(number, "the store did not answer") from error
                self.pause(tried)
            except StoreError as error:
                error.maybe_applied = True  # the store may have sent it before, and lost that answer
                raise
            else:
                break
        return True

    def _rival(self, number: int, put_id: bytes) -> Record | None:
        """Return the version that stands where ours was to be, or None if it is ours."""
        try:
            record = self.read(number)
        except NotFoundError as error:
            raise self._in_doubt(number, "what was there is gone") from error
        except StoreError as error:
            error.maybe_applied = True
            raise
        return None if self._is_ours(record, put_id) else record

    def _is_ours(self, record: Record, put_id: bytes) -> bool:
        """Whether a record is what the write with that put-id wrote."""
        return record.put_id == put_id

    def _confirm(self, number: int, *, took_long: bool) -> Record | None:
        """Look again after a write that rests on a look long ago: meanwhile its number may have been used and collected.

        A version that others have followed was in time, and one that is later than its successor was not. `took_long`
        says that the latter could be a second write of ours, whose first one had its followers and was collected.
        """
        try:
            chain = self.look(whole=True)
        except StoreError as error:
            error.maybe_applied = True
            raise
        is_late = chain.shows_late(number)
        is_gone = chain.find(number) is None or (number > 1 and chain.find(number - 1) is None)
        if is_gone or (is_late and took_long):
            raise self._in_doubt(number, "it took so long that it may have been collected")
        if not is_late:
            return None
        self.store.delete([self._object_key(number)])
        return self.read(chain.number)

    def _sweep(self, chain: Chain, number: int) -> None:
        """DELETE what is due; `number` was just written."""
        try:
            keep = self.keep - 1
            if number % SWEEP_EVERY == 0:
                chain, keep = self.look(whole=True), self.keep
            due = chain.due(keep=keep, now=self.store.time().earliest, retention=self.retention)
            if due:
                self.store.delete(map(self._object_key, due))
        except StoreError as error:
            self.recorder.trouble(error, "old versions could not be deleted; a later write tries again")

    def _seal(self, object_key: str, put_id: bytes, payload: Buffer | None) -> Buffer:
        if payload is None:
            return b""
        sealed = envelope.seal(
            codec.encode([put_id, writer(), bytes(payload)]),
            object_key=object_key,
            keys=self.packing.keys,
            created=int(self.store.time().earliest * MICROSECONDS),
            ttl=None,
            elapsed=0,
            function=self.recorder.function,
            compression=self.packing.compression,
        )
        return sealed.data

    def _object_key(self, number: int) -> str:
        return self.prefix + sequence_name(number)

    def _in_doubt(self, number: int, reason: str) -> StoreUnavailableError:
        error = StoreUnavailableError(
            f"version {number} of {self} may or may not have been written: {reason}; read it before you write again"
        )
        error.maybe_applied = True
        return error


def writer() -> str:
    """Return who writes, for those who meet it: this machine and process."""
    import socket  # noqa: PLC0415  only holders of leases need it, and it takes its time

    return f"{socket.gethostname()}:{os.getpid()}"
