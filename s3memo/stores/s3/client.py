"""boto3's client, as s3memo sets it up and uses it: with deadlines and retries, and noting the server's time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from s3memo._about import __version__
from s3memo.errors import SettingsError, StoreError
from s3memo.events import RequestKind, count_request
from s3memo.stores.clock import ServerClock, parse_date
from s3memo.stores.retry import Deadline, Progress, RetryPolicy, until_answered
from s3memo.stores.s3.direct import read_directly, read_time
from s3memo.stores.s3.errors import FOREIGN_ERRORS, Request, translate, translate_deletions, translate_setup

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer: TypeAlias = Mapping[str, Any]
Result = TypeVar("Result")

_POOL = 1000
"""The most connections; they are opened on demand, and no batch should have to wait for one."""


def make_client(client_options: Mapping[str, Any], policy: RetryPolicy) -> S3Client:
    """Return a client with these options of `boto3.client`; a `config` among them overrides ours."""
    engine = botocore.session.get_session()
    engine.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=read_time)
    session = boto3.session.Session(botocore_session=engine)  # the default one is not safe to share between threads
    options = dict(client_options)
    theirs: Any = options.pop("config", None) or Config()
    if not theirs.retries:  # direct reads skip the client's own retries
        read_directly(engine)
    ours = Config(
        connect_timeout=policy.connect_timeout,
        read_timeout=policy.read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=_POOL,
        user_agent_extra=f"s3memo/{__version__}",
    )
    client: S3Client = session.client("s3", config=ours.merge(theirs), **options)
    if not _is_aws(client.meta.endpoint_url):
        client.close()
        # Many servers refuse, or worse store, the checksum trailer that boto3 sends by default.
        plain = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        client = session.client("s3", config=ours.merge(plain).merge(theirs), **options)
    client.meta.events.register("before-call.s3.HeadBucket", _refuse_head_bucket)
    return client


def _refuse_head_bucket(**_: object) -> None:
    """Keep boto3 from asking for a bucket's region: with a server that redirects everything it would ask for ever."""
    no_answer: Any = {"ResponseMetadata": {"HTTPHeaders": {}}}
    raise ClientError(no_answer, "HeadBucket")


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _reason(error: Exception, deadline: Deadline) -> Exception:
    """Return the error, or TimeoutError if time ran out and the error is likely its consequence."""
    is_clear = isinstance(error, ClientError | ConnectTimeoutError | EndpointConnectionError)
    return error if is_clear else deadline.expired() or error


class Connection:
    """One process's way to a server; `make` makes its client on first use, and its threads share it.

    `clock` is the local one, in seconds, that `server_clock` uses too.
    """

    def __init__(
        self,
        make: Callable[[], S3Client],
        policy: RetryPolicy,
        server_clock: ServerClock,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._make = make
        self._policy = policy
        self._server_clock = server_clock
        self._clock = clock
        self._sleep = sleep
        self._client: S3Client | None = None
        self._making = threading.RLock()  # reentrant: a signal handler or a finalizer may call a cached function

    def ask(
        self,
        kind: RequestKind,
        url: str,
        send: Callable[[S3Client, Deadline], Answer],
        receive: Callable[[Answer, Deadline], Result],
        *,
        deadline: Deadline | None = None,
    ) -> Result:
        """Send a request and receive its answer, with retries as the policy allows. Raises StoreError.

        `url` names the subject in errors; `deadline` is for requests that share one.
        """
        client = self._connect(Request(kind, url))
        deadline = deadline or Deadline(self._clock, self._policy)

        def attempt(tried: int) -> Result:
            count_request(kind)
            try:
                return receive(self._listen(lambda: send(client, deadline)), deadline)
            except FOREIGN_ERRORS as error:
                request = Request(kind, url, client.meta.endpoint_url, tried)
                raise self.failure(error, deadline, request) from error

        return until_answered(attempt, deadline, self._sleep)

    def failure(self, error: Exception, deadline: Deadline, request: Request) -> StoreError:
        """Translate an error of boto3's in a request with that deadline."""
        return translate(_reason(error, deadline), request)

    def progress(self, step: int) -> Progress:
        """Return a deadline for the requests that together move a large object; see Progress."""
        return Progress(self._clock, self._policy, step)

    def deletion_error(self, url: str, failures: Mapping[str, str]) -> StoreError:
        """Return the error for objects that a DELETE left, given as object keys with S3's error codes."""
        return translate_deletions(failures, Request("DELETE", url, self.endpoint(url)))

    def endpoint(self, url: str) -> str:
        """Return the URL that requests are sent to; `url` names the subject in errors."""
        return self._connect(Request("PUT", url)).meta.endpoint_url

    def is_aws(self, url: str) -> bool:
        """Return whether requests are sent to AWS itself."""
        return _is_aws(self.endpoint(url))

    def close(self) -> None:
        """Close the client if one was made."""
        if self._client is not None:
            self._client.close()

    def _connect(self, request: Request) -> S3Client:
        if self._client is not None:  # without the lock, which all threads of a batch would contend for
            return self._client
        with self._making:
            if self._client is None:
                try:
                    self._client = self._make()
                except TypeError as error:
                    raise SettingsError(f"client_options are not those of boto3.client: {error}") from error
                except (BotoCoreError, OSError, ValueError) as error:
                    raise translate_setup(error, request) from error
            return self._client

    def _listen(self, send: Callable[[], Answer]) -> Answer:
        """Return the answer, or raise the error answered; note the server's time in either case."""
        sent = self._clock()
        try:
            answer = send()
        except ClientError as error:
            self._observe(error.response, sent)
            raise
        self._observe(answer, sent)
        return answer

    def _observe(self, answer: Mapping[str, Any], sent: float) -> None:
        received = self._clock()
        date = parse_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
        if date is not None:
            self._server_clock.observe(date, sent, received)
