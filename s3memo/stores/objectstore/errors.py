"""The one place where obstore's errors become StoreErrors. Most details are in their text only, which is parsed here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape

from obstore import exceptions as foreign
from urllib3.exceptions import HTTPError, SSLError

from s3memo.errors import (
    AlreadyExistsError,
    NotFoundError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.stores.s3.errors import (
    CERTIFICATE,
    CREDENTIALS,
    EXISTS,
    MISSING,
    NOT_S3,
    REGION,
    UNREACHABLE,
    Meaning,
    Request,
    explain,
    translate_answer,
)

FOREIGN_ERRORS = (foreign.BaseError, OSError, ValueError, HTTPError)
"""All that obstore raises for trouble outside this process, or for a name that it does not support."""

_STATUS = re.compile(r"status code: (\d{3})|Server returned error response|Bulk delete .*\(code: ((?!404)\d{3})\)")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_KEPT = re.compile(r"DeleteObjects request failed for key .*\(code: (\w+)\)", re.DOTALL)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CAUSE = re.compile(r"(?:kind: (Connect|Timeout)\b)|(TimedOut)")
_NAME = Meaning(StoreNotSupportedError, "obstore has no such names: delete the object, or use s3:// for this bucket")
_PANIC = Meaning(StoreNotSupportedError, "use s3:// for this bucket, and report it to obstore")
_BY_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("token request", CREDENTIALS),
    ("redirect without LOCATION", REGION),
    ("Got invalid", NOT_S3),
    ("Unable to extract metadata", NOT_S3),
    ("(certificate: ", CERTIFICATE),
)
_BY_TYPE: tuple[tuple[type[Exception], Meaning], ...] = (
    (FileNotFoundError, MISSING),
    (foreign.AlreadyExistsError, EXISTS),
    (SSLError, CERTIFICATE),
    (foreign.UnauthenticatedError, CREDENTIALS),
    (foreign.InvalidPathError, _NAME),
    (ValueError, _NAME),
)
_OF_AZURE = {
    "BlobAlreadyExists": "PreconditionFailed",
    "BlobNotFound": "NoSuchKey",
    "ContainerNotFound": "NoSuchBucket",
    "ContainerBeingDeleted": "OperationAborted",
    "AuthenticationFailed": "SignatureDoesNotMatch",
    "AuthorizationFailure": "AccessDenied",
    "AuthorizationPermissionMismatch": "AccessDenied",
    "ServerBusy": "SlowDown",
}
_ELSEWHERE: dict[type[StoreError], str] = {
    StoreAccessError: "check the bucket's name, the credentials, and what they are allowed to do",
    StoreUnavailableError: "check the network, or try again later",
    StoreNotSupportedError: "use another store",
}
"""Advice for stores other than S3, by the class of the error."""


def translate(error: Exception, request: Request) -> StoreError:
    """Return the StoreError for an error of obstore's.

    A 409 to a create does not mean that the object exists, though obstore says so: another create may be under way.
    """
    text = _text(error)
    kept = _KEPT.search(text)
    answered = _STATUS.search(text)
    if (kept or answered) and "token request" not in text:
        code = _found(kept or _CODE.search(text))
        message = unescape(_found(_MESSAGE.search(text)))
        failure = translate_answer(int(_found(answered) or 200), _OF_AZURE.get(code, code), message, request)
    else:
        said = f"{type(error).__name__}: {text}{_cause(str(error))}"
        failure = explain(_by_words(error, said), request, said)
    return failure if request.url.startswith("s3") else _elsewhere(failure)


def translate_setup(error: Exception, request: Request) -> StoreError:
    """Return the StoreError for an error in setting up obstore: the settings are wrong, not the network."""
    advice = "set up or correct the credentials and settings of this machine"
    return explain(Meaning(StoreAccessError, advice), request, f"{type(error).__name__}: {_text(error)}")


def translate_panic(error: BaseException, request: Request) -> StoreError:
    """Return the StoreError for a panic in obstore, mostly at an unusual server's answer."""
    return explain(_PANIC, request, f"obstore broke down: {error}")


def is_kept(error: StoreError) -> bool:
    """Whether the server refused to delete single objects rather than the whole request."""
    return isinstance(error.__cause__, foreign.GenericError) and _KEPT.search(str(error.__cause__)) is not None


def is_of_a_name(error: StoreError) -> bool:
    """Whether a listing shows a name that obstore does not support."""
    return isinstance(error.__cause__, foreign.InvalidPathError | ValueError)


def deletion_error(failures: Mapping[str, StoreError], untried: Sequence[str], request: Request) -> StoreError:
    """Return one error for all objects that could not be deleted, given with the error of each."""
    types = {type(error) for error in failures.values()}
    kind = types.pop() if len(types) == 1 else StoreError
    named = "; ".join(f"{object_key!r} ({error})" for object_key, error in failures.items())
    error = kind(f"cannot {request}: the server kept {named}; {len(untried)} objects after that were not tried")
    error.left = (*failures, *untried)
    return error


def _text(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]


def _found(match: re.Match[str] | None) -> str:
    """Return the group that matched, of which a pattern may have several, or an empty string."""
    return match[match.lastindex] if match and match.lastindex else ""


def _cause(text: str) -> str:
    """Return, in parentheses, the cause that obstore names in its debug source alone."""
    certificate = _found(_CERTIFICATE.search(text))
    cause = f"certificate: {certificate}" if certificate else _found(_CAUSE.search(text))
    return f" ({cause})" if cause else ""


def _by_words(error: Exception, text: str) -> Meaning:
    said = next((meaning for words, meaning in _BY_WORDS if words in text), None)
    return said or next((meaning for kind, meaning in _BY_TYPE if isinstance(error, kind)), UNREACHABLE)


def _elsewhere(failure: StoreError) -> StoreError:
    if isinstance(failure, NotFoundError | AlreadyExistsError):
        return failure
    sentence = str(failure).rpartition("; ")[0] or str(failure)
    return type(failure)(f"{sentence}; {_ELSEWHERE[type(failure)]}")
