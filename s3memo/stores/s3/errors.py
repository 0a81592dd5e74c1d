"""The one place where boto3's errors become StoreErrors that say what was asked, what was answered, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from botocore import exceptions as foreign
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from s3memo.errors import (
    AlreadyExistsError,
    NotFoundError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.events import RequestKind

FOREIGN_ERRORS = (foreign.BotoCoreError, foreign.ClientError, ResponseParserError, HTTPError, OSError)
"""All that boto3 raises, in a call or while a body is read, for trouble outside this process."""

_VERBS: dict[RequestKind, str] = {"LIST": "list", "GET": "read", "PUT": "write", "DELETE": "delete from"}
_PERMISSIONS: dict[RequestKind, str] = {
    "LIST": "s3:ListBucket on the bucket",
    "GET": "s3:GetObject on the objects, and s3:ListBucket on the bucket, or S3 hides that an object is missing,",
    "PUT": "s3:PutObject on the objects",
    "DELETE": "s3:DeleteObject on the objects",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `url` is the object or prefix, `endpoint` the server, `tried` the number of attempts."""

    kind: RequestKind
    url: str
    endpoint: str = ""
    tried: int = 1

    def __str__(self) -> str:
        place = f" at {self.endpoint}" if self.endpoint else ""
        return f"{_VERBS[self.kind]} {self.url}{place}" + (f" in {self.tried} attempts" if self.tried > 1 else "")


class Meaning(NamedTuple):
    """The error class, and advice on what to do."""

    error: type[StoreError]
    advice: str = ""


_BUCKET = Meaning(StoreAccessError, "create the bucket, or correct its name or the endpoint")
_DENIED = Meaning(StoreAccessError, "grant these credentials {permission}")
CREDENTIALS = Meaning(StoreAccessError, "set up or correct the AWS credentials, for example with AWS_PROFILE")
_EXPIRED = Meaning(StoreAccessError, "renew the credentials, for example with `aws sso login`")
REGION = Meaning(StoreAccessError, "name the bucket's region, in AWS_REGION or client_options")
SETTINGS = Meaning(StoreAccessError, "correct client_options, put_options, or the AWS settings of this machine")
MISSING = Meaning(NotFoundError)
EXISTS = Meaning(AlreadyExistsError)
_UNSUPPORTED = Meaning(StoreNotSupportedError, "this server lacks a part of S3 that s3memo needs: use another")
NOT_S3 = Meaning(StoreNotSupportedError, "what answers there does not speak S3: correct the endpoint")
_UNAVAILABLE = Meaning(StoreUnavailableError, "try again later")
UNREACHABLE = Meaning(StoreUnavailableError, "check the endpoint and the network, or try again later")
CERTIFICATE = Meaning(StoreUnavailableError, "check the endpoint and its certificate, or name its CA in AWS_CA_BUNDLE")

_BY_CODE = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _DENIED,
    "InvalidAccessKeyId": CREDENTIALS,
    "SignatureDoesNotMatch": CREDENTIALS,
    "InvalidToken": CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": Meaning(StoreAccessError, "set this machine's clock"),
    "PermanentRedirect": REGION,
    "TemporaryRedirect": REGION,
    "AuthorizationHeaderMalformed": REGION,
    "IllegalLocationConstraintException": REGION,
    "InvalidObjectState": Meaning(StoreAccessError, "the object is archived: keep lifecycle rules off this prefix"),
    "NoSuchKey": MISSING,
    "NoSuchUpload": Meaning(StoreError, "the upload was ended meanwhile, perhaps by a lifecycle rule: store it again"),
    "InvalidPart": Meaning(StoreError, "the server lost a part that it had acknowledged: store it again"),
    "PreconditionFailed": EXISTS,
    "ConditionalRequestConflict": _UNAVAILABLE,
    "OperationAborted": _UNAVAILABLE,
    "RequestTimeout": _UNAVAILABLE,
    "BadDigest": _UNAVAILABLE,
    "IncompleteBody": _UNAVAILABLE,
    "SlowDown": _UNAVAILABLE,
    "InternalError": _UNAVAILABLE,
    "ServiceUnavailable": _UNAVAILABLE,
    "NotImplemented": _UNSUPPORTED,
}
_BY_STATUS: dict[int, Meaning] = {
    HTTPStatus.UNAUTHORIZED: _DENIED,
    HTTPStatus.FORBIDDEN: _DENIED,
    HTTPStatus.NOT_FOUND: _BUCKET,
    HTTPStatus.METHOD_NOT_ALLOWED: _UNSUPPORTED,
    HTTPStatus.CONFLICT: _UNAVAILABLE,
    HTTPStatus.PRECONDITION_FAILED: EXISTS,
    HTTPStatus.TOO_MANY_REQUESTS: _UNAVAILABLE,
    HTTPStatus.NOT_IMPLEMENTED: _UNSUPPORTED,
}
_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], Meaning], ...] = (
    ((foreign.NoCredentialsError, foreign.PartialCredentialsError, foreign.CredentialRetrievalError), CREDENTIALS),
    ((ResponseParserError,), NOT_S3),
    ((foreign.SSLError,), CERTIFICATE),
    ((foreign.ConnectionError, foreign.HTTPClientError, HTTPError, OSError), UNREACHABLE),
    ((foreign.IncompleteReadError, foreign.ChecksumError, foreign.FlexibleChecksumError), _UNAVAILABLE),
)


def translate(error: Exception, request: Request) -> StoreError:
    """Return the StoreError for an error of boto3's."""
    if isinstance(error, foreign.ClientError):
        return _translate_error(error, request)
    meaning = next((meaning for types, meaning in _BY_TYPE if isinstance(error, types)), SETTINGS)
    return explain(meaning, request, f"{type(error).__name__}: {error}")


def translate_setup(error: Exception, request: Request) -> StoreError:
    """Return the StoreError for an error in making the client: the settings are wrong, not the network."""
    return explain(SETTINGS, request, f"{type(error).__name__}: {error}")


def translate_deletions(failures: Mapping[str, str], request: Request) -> StoreError:
    """Return one error for all objects that could not be deleted, given as object keys with S3's error codes."""
    meanings = {_by_code(code) for code in failures.values()}
    meaning = meanings.pop() if len(meanings) == 1 else Meaning(StoreError)
    named = ", ".join(f"{object_key!r} ({code})" for object_key, code in failures.items())
    error = explain(meaning, request, f"the server kept {named}; nothing after that was tried")
    error.left = tuple(failures)
    return error


def _translate_error(error: foreign.ClientError, request: Request) -> StoreError:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return translate_answer(status, details.get("Code") or "", details.get("Message") or "", request)


def translate_answer(status: int, code: str, message: str, request: Request) -> StoreError:
    """Return the StoreError for an HTTP status and S3's error code and message, both of which may be empty."""
    answered = str(status) if code in {"", str(status)} else f"{status} {code}"
    said = ": ".join(filter(None, [f"the server answered {answered}", message]))
    return explain(_by_code(code, status, request.kind), request, said)


def _by_code(code: str, status: int = HTTPStatus.BAD_REQUEST, kind: RequestKind = "DELETE") -> Meaning:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == HTTPStatus.NOT_FOUND and kind == "GET":
        return MISSING
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _UNAVAILABLE
    return REGION if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else SETTINGS


def explain(meaning: Meaning, request: Request, said: str) -> StoreError:
    """Return the error with its full message: what was asked, what was said, what to do."""
    advice = meaning.advice.format(permission=_PERMISSIONS[request.kind])
    sentence = " ".join(f"cannot {request}: {said}".split()).rstrip(".")
    return meaning.error(f"{sentence}; {advice}" if advice else sentence)
