"""obstore, as s3memo sets it up and uses it: with deadlines and retries, and never in a forked child."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from s3memo._about import __version__
from s3memo.bridge import aside
from s3memo.errors import SettingsError
from s3memo.events import RequestKind, count_request
from s3memo.locks import rebuild_after_fork
from s3memo.stores.clock import ServerClock, parse_date
from s3memo.stores.objectstore.errors import FOREIGN_ERRORS, translate, translate_panic, translate_setup
from s3memo.stores.objectstore.verbs import Engine
from s3memo.stores.retry import Deadline, RetryPolicy, until_answered
from s3memo.stores.s3.errors import FOREIGN_ERRORS as BOTO_ERRORS
from s3memo.stores.s3.errors import Request

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

Result = TypeVar("Result")

_CREDENTIALS_TTL = timedelta(minutes=9)
"""boto3's credentials are valid for at least ten minutes; obstore renews them five minutes before the ttl ends."""
_PUT_OPTIONS = {
    "ServerSideEncryption": "aws_server_side_encryption",
    "SSEKMSKeyId": "aws_sse_kms_key_id",
    "BucketKeyEnabled": "aws_sse_bucket_key_enabled",
}
"""PutObject's options that obstore can send, and its names for them."""
_PANICS = frozenset({"PanicException", "RustPanic"})
"""Error classes of pyo3's that nothing exports; the first is a BaseException."""
_FROM_A_PROXY = frozenset({407, 502, 503, 504})
"""Statuses that may come from a proxy itself, with the date of its own clock."""


class _Runtime:
    """obstore's threads, one set a process. A forked child has none, so requests there would wait for ever."""

    def __init__(self) -> None:
        self.started = False
        self.lost = False
        rebuild_after_fork(self._note_fork)

    def _note_fork(self) -> None:
        self.lost = self.started


runtime = _Runtime()


def check_put_options(put_options: Mapping[str, Any]) -> None:
    """Raise SettingsError for an option that obstore cannot send."""
    unknown = [name for name in put_options if name not in _PUT_OPTIONS]
    if unknown:
        raise SettingsError(
            f"put_options cannot have {', '.join(unknown)} here, only {', '.join(_PUT_OPTIONS)}: use s3:// for the rest"
        )


def make_engine(scheme: str, bucket: str, policy: RetryPolicy, put_options: Mapping[str, Any]) -> Engine:
    """Return a store of obstore's. It finds credentials and settings itself, on S3 boto3 does; `put_options` are for S3."""
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=policy.connect_timeout),
        "read_timeout": timedelta(seconds=policy.read_timeout),
        "timeout": timedelta(seconds=policy.longest_silence),
        "user_agent": f"s3memo/{__version__}",
    }
    once: RetryConfig = {"max_retries": 0}
    match scheme:
        case "gs":
            return GCSStore(bucket, client_options=options, retry_config=once)
        case "az":
            return AzureStore(bucket, client_options=options, retry_config=once)
    return _make_s3(bucket, policy, put_options, options, once)


def _make_s3(
    bucket: str, policy: RetryPolicy, put_options: Mapping[str, Any], options: ClientConfig, once: RetryConfig
) -> S3Store:
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415  only S3 needs boto3, which loads slowly

    from s3memo.stores.s3.client import make_client  # noqa: PLC0415  as above

    client = make_client({}, policy)
    endpoint, region = client.meta.endpoint_url, client.meta.region_name
    client.close()
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        options["root_certificate"] = Path(bundle).read_bytes()
    return S3Store(
        bucket,
        aws_endpoint_url_s3=endpoint,
        region=region if region and region != "aws-global" else "us-east-1",
        virtual_hosted_style_request=False,
        credential_provider=Boto3CredentialProvider(ttl=_CREDENTIALS_TTL),
        client_options=options,
        retry_config=once,
        **{_PUT_OPTIONS[name]: value for name, value in put_options.items()},
    )


def endpoint_of(engine: Engine) -> str:
    """Return the URL that its requests are sent to; empty for a store in memory."""
    config: dict[str, Any] = {} if isinstance(engine, MemoryStore) else dict(engine.config)
    match engine:
        case S3Store():
            given = _first(config, ("endpoint_url_s3", "aws_endpoint_url_s3", "endpoint", "aws_endpoint"))
            given = given or _first(os.environ, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
            region = _first(config, ("region", "default_region")) or os.environ.get("AWS_REGION", "us-east-1")
            return given or f"https://s3.{region}.amazonaws.com"
        case GCSStore():
            given = _first(config, ("base_url", "google_base_url")) or _first(os.environ, ("GOOGLE_BASE_URL",))
            return given or "https://storage.googleapis.com"
        case AzureStore():
            given = _first(config, ("endpoint", "azure_storage_endpoint"))
            given = given or _first(os.environ, ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"))
            account = _first(config, ("account_name", "azure_storage_account_name"))
            account = account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
            return given or f"https://{account}.blob.core.windows.net"
    return ""


def _first(texts: Any, names: tuple[str, ...]) -> str:
    return next((str(texts[name]) for name in names if texts.get(name)), "")


class ObstoreConnection:
    """One process's way to obstore; `make` makes the engine on first use, and the process's threads share it."""

    def __init__(
        self,
        make: Callable[[], Engine],
        policy: RetryPolicy,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._make = make
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._engine: Engine | None = None
        self._making = threading.RLock()  # as in s3.client

    def engine(self, request: Request) -> Engine:
        """Return obstore's store. Raises StoreAccessError if it cannot be set up."""
        return self._engine or aside(partial(self._made, request))

    def _made(self, request: Request) -> Engine:
        with self._making:
            if self._engine is None:
                runtime.started = True
                try:
                    self._engine = self._make()
                except (*FOREIGN_ERRORS, *BOTO_ERRORS) as error:
                    raise translate_setup(error, request) from error
            return self._engine

    def ask(self, kind: RequestKind, url: str, send: Callable[[Engine], Result], *, counted: bool = True) -> Result:
        """Send a request, with retries as the policy allows. Raises StoreError.

        `url` names the subject in errors; `send` itself counts requests that are not to be `counted` here.
        """
        engine = self.engine(Request(kind, url))

        def attempt(tried: int) -> Result:
            if counted:
                count_request(kind)
            try:
                return send(engine)
            except FOREIGN_ERRORS as error:
                raise translate(error, Request(kind, url, endpoint_of(engine), tried)) from error
            except BaseException as error:
                if type(error).__name__ not in _PANICS:
                    raise
                raise translate_panic(error, Request(kind, url, endpoint_of(engine), tried)) from error

        return until_answered(attempt, Deadline(self._clock, self._policy), self._sleep)

    def observe_date(self, url: str, server_clock: ServerClock) -> None:
        """Learn the server's time from a `Date` header, which obstore does not show.

        It sends a HEAD of the endpoint's root without credentials: whatever the answer, it has a date.
        """

        def send(engine: Engine) -> None:
            endpoint = endpoint_of(engine)
            timeout = urllib3.Timeout(connect=self._policy.connect_timeout, read=self._policy.read_timeout)
            with _http(endpoint, engine) as http:
                sent = self._clock()
                answer = http.request("HEAD", endpoint, timeout=timeout, retries=False, redirect=False)
                date = parse_date(answer.headers.get("Date", ""))
                if date is not None and answer.status not in _FROM_A_PROXY:
                    server_clock.observe(date, sent, self._clock())

        self.ask("GET", url, send)


def _http(endpoint: str, engine: Engine) -> urllib3.PoolManager:
    """Return a pool that uses the same proxy, and trusts the same certificates, as obstore's client."""
    options: dict[str, Any] = {} if isinstance(engine, MemoryStore) else dict(engine.client_options or {})
    address = urlsplit(endpoint)
    trust = _trust(options.get("root_certificate")) if address.scheme == "https" else None
    by_environment = "" if proxy_bypass(address.netloc) else getproxies().get(address.scheme, "")
    proxy = str(options.get("proxy_url") or by_environment)
    return urllib3.ProxyManager(proxy, ssl_context=trust) if proxy else urllib3.PoolManager(ssl_context=trust)


def _trust(certificate: str | bytes | None) -> ssl.SSLContext:
    """Return what trusts this machine's certificates, and one more if given. It takes tens of milliseconds."""
    trust = ssl.create_default_context()
    if certificate:
        trust.load_verify_locations(cadata=certificate if isinstance(certificate, str) else bytes(certificate).decode())
    return trust
