"""Every error that s3memo raises.

    S3MemoError
    ├── SettingsError (ValueError)       an invalid argument, URL or environment variable
    ├── KeyDerivationError (TypeError)   an argument that cannot be turned into a key
    ├── CodecError
    │   ├── EncodeError                  a result that cannot be stored exactly
    │   ├── DecodeError                  stored bytes that no codec wrote
    │   └── IntegrityError               stored bytes that were altered: checksum or signature
    ├── StoreError
    │   ├── NotFoundError                no object of that name
    │   ├── AlreadyExistsError           a create-only write found an object
    │   ├── StoreAccessError             refused: credentials, permission, no such bucket
    │   ├── StoreUnavailableError        no answer in time, or a failure of the server
    │   └── StoreNotSupportedError       the store lacks something the protocol needs
    ├── NotStoredError (ValueError)      an item of a mapping that was not stored
    ├── StateConflictError               other writers were faster at every attempt to write a state
    └── LeaseTimeout (TimeoutError)      a lease was held by another for the whole waiting time

A cached function's own exceptions pass through unchanged, and a StoreError or CodecError never reaches its caller
unless `on_error="raise"`.
"""

from __future__ import annotations


class S3MemoError(Exception):
    """Base class of all s3memo errors."""


class SettingsError(S3MemoError, ValueError):
    """An argument, URL or environment variable is invalid; raised before any work is done."""


class KeyDerivationError(S3MemoError, TypeError):
    """An argument cannot be turned into a key; the message names the parameter, its type and the remedy."""


class CodecError(S3MemoError):
    """A value could not be turned into bytes, or bytes into a value."""


class EncodeError(CodecError):
    """A value cannot be stored such that it comes back exactly."""


class DecodeError(CodecError):
    """Stored bytes are not the output of a codec."""


class IntegrityError(CodecError):
    """Stored bytes were altered since they were written."""


class StoreError(S3MemoError):
    """A store operation failed.

    `maybe_applied`: a failed write of a state may have taken effect all the same, or may yet do so. `left` names the
    objects that a DELETE left, where that is known: the others in its last request are gone.
    """

    maybe_applied: bool = False
    left: tuple[str, ...] = ()


class NotFoundError(StoreError):
    """There is no object of that name."""


class AlreadyExistsError(StoreError):
    """A create-only write found an existing object."""


class StoreAccessError(StoreError):
    """The store refused access: wrong credentials, a missing permission, no such bucket or directory."""


class StoreUnavailableError(StoreError):
    """The store failed or did not answer in time; the same call may succeed later."""


class StoreNotSupportedError(StoreError):
    """The store lacks something the protocol needs."""


class NotStoredError(S3MemoError, ValueError):
    """An item of a mapping was not stored, for the reason in `__cause__`.

    It is a ValueError because cachetools' decorators catch that and return the result all the same.
    """


class StateConflictError(S3MemoError):
    """A state was not written because others wrote it first: `attempts` times; `rivals` names them, the latest last."""

    def __init__(self, message: str, *, attempts: int, rivals: tuple[str, ...]) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.rivals = rivals


class LeaseTimeout(S3MemoError, TimeoutError):  # noqa: N818  named as in lock libraries
    """A lease was held by another for as long as the caller was willing to wait."""
