"""One value in a store, changed by compare-and-swap: version n + 1 is created by whoever is first, never overwritten.

A create-only write has one winner for each number, so the order needs no clock. What can still go wrong is handled here:
a lost answer, a number whose version was collected already, a writer that was paused.
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
"""How often a PUT without an answer is sent, each time with all retries of the store itself."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_UNSIGNED = Packing("msgpack", "auto", NO_KEYS)


@dataclass(frozen=True, slots=True)
class Record:
    """The content of one version: `payload` is the encoded value, None for a tombstone; `put_id` identifies its write."""

    number: int
    payload: Buffer | None = None
    writer: str = "a writer that cleared it"
    put_id: bytes = b""


@dataclass
class Register:
    """The versions below a prefix of a store, of which `keep` stay; `recorder` gets errors that are not raised.

    `packing` decides compression and signing; the codec is always msgpack. `clock` is local and monotonic, in seconds;
    `puts` is how often a PUT without an answer is sent. Every method may raise StoreError or CodecError; with
    `maybe_applied` true, a write may have taken effect or may still do so.
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
        """Return the newest version, or None if a complete listing has none."""
        found = list(self.store.list(self.prefix, limit=1))
        chain = Chain.of(found, self.prefix)
        return chain.newest if chain.versions or not found else self.look().newest  # that one name is foreign

    def look(self, *, whole: bool = False) -> Chain:
        """Return the versions on the first page that has any, or with `whole` all versions."""
        asked, start_after = self.clock(), ""
        while True:
            page = list(self.store.list(self.prefix, start_after=start_after, limit=None if whole else PAGE_SIZE))
            listed_at = self.store.time().earliest - (self.clock() - asked)
            chain = Chain.of(page, self.prefix, listed_at=listed_at)
            if chain.versions or whole or len(page) < PAGE_SIZE:
                return chain
            start_after = page[-1].key

    def read(self, number: int) -> Record:
        """GET one version. Raises NotFoundError if it was collected."""
        object_key = self._object_key(number)
        data = self.store.get(object_key)
        if not len(data):
            return Record(number)
        match codec.decode(envelope.unseal(data, object_key=object_key, keys=self.packing.keys).payload()):
            case [bytes() as put_id, str() as writer, bytes() as payload]:
                return Record(number, payload, writer, put_id)
        raise DecodeError(f"version {number} of {self} is not one that s3memo wrote")

    def append(self, chain: Chain, payload: Buffer | None) -> Record | None:
        """Write the version after those in `chain`, a tombstone for None; return None, or the version that was first.

        Raises StoreNotSupportedError if create-only is not enforced. A failed clean-up is reported, not raised.
        """
        check_create_only(self.store)
        number = chain.number + 1
        put_id = b"" if payload is None else os.urandom(16)  # two tombstones have the same effect
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
        """Wait before another attempt: a random time that grows with the number of attempts."""
        self.sleep(self.jitter() * min(_FIRST_PAUSE * 2 ** (tried - 1), _LONGEST_PAUSE))

    def _create(self, number: int, data: Buffer) -> bool:
        """PUT until there is an answer; return whether this created the object."""
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
                error.maybe_applied = True  # an earlier attempt of the store's may have succeeded
                raise
            else:
                break
        return True

    def _rival(self, number: int, put_id: bytes) -> Record | None:
        """Return the version that has our number, or None if it is our own."""
        try:
            record = self.read(number)
        except NotFoundError as error:
            raise self._in_doubt(number, "what was there is gone") from error
        except StoreError as error:
            error.maybe_applied = True
            raise
        return None if self._is_ours(record, put_id) else record

    def _is_ours(self, record: Record, put_id: bytes) -> bool:
        """Whether a record was written with this put-id."""
        return record.put_id == put_id

    def _confirm(self, number: int, *, took_long: bool) -> Record | None:
        """List again after a write that rests on an old listing: its number may have been used and collected meanwhile.

        A version that others have followed was in time; one that is later than its successor was not. With `took_long`
        the latter could be our own retry, after our first write was followed and collected.
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
        """Delete what is due; `number` was just written."""
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
    """Return this machine and process, for other writers' messages."""
    import socket  # noqa: PLC0415  it loads slowly, and few programs need it

    return f"{socket.gethostname()}:{os.getpid()}"
