"""A simulated S3 server as boto3's client sees it, with the faults that real ones show; S3Store itself runs on it.

Every request pauses before it reaches the server and again before its answer does, so that others go on in between.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any, Literal

from botocore.exceptions import ClientError, ReadTimeoutError

from s3memo.stores.s3 import S3Store
from tests.simulation.world import World, pause

Fault = Literal["lost", "late", "timeout", "unavailable", "conflict", "empty page", "stale"]

FAULTS: dict[str, tuple[Fault, ...]] = {
    "LIST": ("timeout", "unavailable", "empty page", "stale"),
    "GET": ("timeout", "unavailable"),
    "PUT": ("lost", "late", "timeout", "unavailable", "conflict"),
    "DELETE": ("lost", "timeout", "unavailable"),
}
"""What can befall each kind of request: the effect without the answer, or only later, or neither; an old listing; …"""

_SIGNATURE_LIFE = 900.0
_STALE_FOR = 600.0


@dataclass
class Weather:
    """Which faults come, and how often; all chance is drawn from one seeded source."""

    chance: random.Random
    rate: Mapping[Fault, float] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    late: list[Callable[[], None]] = field(default_factory=list)
    """Effects of requests that nobody waits for any more, still on their way."""

    def draw(self, kind: str) -> Fault | None:
        """Say what befalls the next request of a kind."""
        for fault in FAULTS[kind]:
            if self.chance.random() < self.rate.get(fault, 0.0):
                self.seen[fault] += 1
                return fault
        return None

    def deliver(self) -> None:
        """Let one late effect arrive."""
        if self.late:
            self.late.pop(self.chance.randrange(len(self.late)))()

    def clear_up(self) -> None:
        """Let no more faults come; what is late arrives."""
        self.rate = {}
        while self.late:
            self.deliver()


@dataclass
class SimulatedS3:
    """One process's client; `skew` is how far the front end that it meets has its clock off, in seconds."""

    world: World
    weather: Weather
    skew: float = 0.0
    ignores_create_only: bool = False
    directory: bool = False
    endpoint: str = "https://s3.eu-central-1.amazonaws.com"
    page_size: int = 1000

    @property
    def meta(self) -> SimpleNamespace:
        return SimpleNamespace(endpoint_url=self.endpoint)

    def list_objects_v2(self, *, Prefix: str, MaxKeys: int, **options: Any) -> dict[str, Any]:  # noqa: N803  as boto3
        fault = self._reach("LIST", Prefix)
        start_after = options.get("ContinuationToken", options.get("StartAfter", ""))
        moment = self.world.now - (_STALE_FOR * self.weather.chance.random() if fault == "stale" else 0.0)
        seen = {key for key in self._keys_at(moment) if key.startswith(Prefix) and key > start_after}
        found = sorted(seen)[: min(MaxKeys, self.page_size)]
        if fault == "empty page":
            answer = {"IsTruncated": True, "NextContinuationToken": start_after}
        else:
            answer = {"IsTruncated": len(found) < len(seen), "Contents": list(map(self._entry, found))}
            if answer["IsTruncated"]:
                answer["NextContinuationToken"] = found[-1]
        if self.directory and not answer["IsTruncated"]:
            self.weather.chance.shuffle(answer["Contents"])
        return self._answered(answer, "LIST")

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self._reach("GET", Key)
        data = self.world.objects.get(Key)
        if data is None:
            self._refuse(404, "NoSuchKey", "GET")
        return self._answered({"Body": io.BytesIO(data), "ContentLength": len(data)}, "GET")

    def put_object(self, *, Key: str, Body: Any, IfNoneMatch: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803
        data, signed_at = Body if isinstance(Body, bytes) else Body.read(), self.world.now
        fault = self._reach("PUT", Key, carry=lambda: self._put(Key, data, signed_at, IfNoneMatch))
        if fault == "conflict" and IfNoneMatch:
            self._refuse(409, "ConditionalRequestConflict", "PUT")
        refusal = self._put(Key, data, signed_at, IfNoneMatch)
        if fault == "lost":
            self._vanish("PUT answered")
        if refusal:
            self._refuse(*refusal, "PUT")
        return self._answered({}, "PUT")

    def delete_objects(self, *, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        fault = self._reach("DELETE", str(len(Delete["Objects"])))
        for each in Delete["Objects"]:
            self.world.remove(each["Key"])
            pause("DELETE under way")
        if fault == "lost":
            self._vanish("DELETE answered")
        return self._answered({}, "DELETE")

    def close(self) -> None:
        """Nothing is open."""

    def _put(self, key: str, data: bytes, signed_at: float, condition: str) -> tuple[int, str] | None:
        """Write, or return why not."""
        if self.world.now - signed_at > _SIGNATURE_LIFE:
            return 403, "RequestTimeTooSkewed"
        if condition and key in self.world.objects and not self.ignores_create_only:
            return 412, "PreconditionFailed"
        self.world.write(key, data)
        return None

    def _reach(self, kind: str, what: str, carry: Callable[[], object] = lambda: None) -> Fault | None:
        """Let a request reach the server, or not; return the fault that its answer is to have."""
        pause(f"{kind} {what}")
        fault = self.weather.draw(kind)
        if fault == "late":
            self.weather.late.append(carry)  # type: ignore[arg-type]  what it returns nobody hears
        if fault in {"late", "timeout"}:
            self._vanish(f"{kind} answered")
        if fault == "unavailable":
            self._refuse(503, "SlowDown", kind)
        return fault

    def _entry(self, key: str) -> dict[str, Any]:
        modified = float(int(self.world.modified.get(key, 0.0)))  # S3 lists whole seconds
        data = self.world.objects.get(key)
        size = len(self.world.last_written(key) if data is None else data)
        return {"Key": key, "Size": size, "LastModified": datetime.fromtimestamp(modified, UTC)}

    def _keys_at(self, moment: float) -> set[str]:
        if moment >= self.world.now:
            return set(self.world.objects)
        return self.world.keys_at(moment)

    def _answered(self, answer: dict[str, Any], kind: str) -> dict[str, Any]:
        date = formatdate(int(self.world.now + self.skew), usegmt=True)
        pause(f"{kind} answered")
        return answer | {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    def _refuse(self, status: int, code: str, kind: str) -> None:
        answer: Any = self._answered({"Error": {"Code": code}}, kind)
        answer["ResponseMetadata"]["HTTPStatusCode"] = status
        raise ClientError(answer, kind)

    def _vanish(self, doing: str) -> None:
        pause(doing)
        raise ReadTimeoutError(endpoint_url=self.endpoint)


def connect(client: SimulatedS3, *, offset: float = 0.0, drift: float = 0.0) -> S3Store:
    """Return a store on the client, of a process whose own clock is so far off and so much too fast."""
    world = client.world

    def sleep(seconds: float) -> None:
        world.now += seconds
        pause("sleeping")

    any_client: Any = client
    bucket = "bucket--euc1-az1--x-s3" if client.directory else "bucket"
    return S3Store(bucket, client=any_client, clock=lambda: world.now * (1 + drift) + offset, sleep=sleep)
