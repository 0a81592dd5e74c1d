"""Every error that s3memo raises.

    S3MemoError
    ├── SettingsError (ValueError)       an argument, URL or environment variable that makes no sense
    ├── KeyDerivationError (TypeError)   an argument that no key can be made of
    ├── CodecError
    │   ├── EncodeError                  a result that cannot be stored exactly
    │   ├── DecodeError                  stored bytes that are not what a codec wrote
    │   └── IntegrityError               stored bytes that were altered: checksum or signature
    ├── StoreError
    │   ├── NotFoundError                no object of that name
    │   ├── AlreadyExistsError           a create-only write met an object
    │   ├── StoreAccessError             refused: credentials, permission, no such bucket
    │   ├── StoreUnavailableError        no answer in time, or a server's own failure
    │   └── StoreNotSupportedError       the store lacks what the protocol needs
    ├── NotStoredError (ValueError)      an item of a mapping that the store did not take
    ├── StateConflictError               others were faster each time a state was to be written
    └── LeaseTimeout (TimeoutError)      somebody else held a lease for all the time that was to be waited

A cached function's own exceptions pass through unchanged, and a StoreError or CodecError never reaches its caller
unless `on_error="raise"`.
"""

from __future__ import annotations


class S3MemoError(Exception):
    """Base of every error that s3memo raises."""


class SettingsError(S3MemoError, ValueError):
    """An argument, URL or environment variable makes no sense; raised before any work is done."""


class KeyDerivationError(S3MemoError, TypeError):
    """No key can be made of an argument; the message names the parameter, its type and the remedy."""


class CodecError(S3MemoError):
    """A value could not be turned into bytes, or bytes into a value."""


class EncodeError(CodecError):
    """A value cannot be stored so that it comes back exactly as it was."""


class DecodeError(CodecError):
    """Stored bytes are not what a codec wrote."""


class IntegrityError(CodecError):
    """Stored bytes were altered since they were written."""


class StoreError(S3MemoError):
    """A store did not do what it was asked.

    `maybe_applied` says of a failed write of a state that it may have taken effect, now or in a moment, all the same;
    `left` names the objects that a DELETE left, where that is known: of the others in its last request none is there.
    """

    maybe_applied: bool = False
    left: tuple[str, ...] = ()


class NotFoundError(StoreError):
    """There is no object of that name."""


class AlreadyExistsError(StoreError):
    """A create-only write met an object that is already there."""


class StoreAccessError(StoreError):
    """The store refuses: wrong credentials, a missing permission, no such bucket or directory."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time or failed; the same call may succeed later."""


class StoreNotSupportedError(StoreError):
    """The store lacks something that the protocol needs."""


class NotStoredError(S3MemoError, ValueError):
    """An item of a mapping was not stored, for the reason in `__cause__`.

    It is a ValueError because that is how cachetools' decorators are told so: they return the result all the same.
    """


class StateConflictError(S3MemoError):
    """A state was not written, because others wrote it first: `attempts` times, and `rivals` are who, the last one last."""

    def __init__(self, message: str, *, attempts: int, rivals: tuple[str, ...]) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.rivals = rivals


class LeaseTimeout(S3MemoError, TimeoutError):  # noqa: N818  named as the standard library's queue and lock libraries do
    """A lease was held by somebody else for as long as the caller was ready to wait."""
