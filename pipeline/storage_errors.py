"""What storage's errors mean: for a job, for a recording, and whether they may pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from pipeline.errors import ConfigurationError, JobError
from pipeline.schema import FailureCode

EXPIRED_CODES = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")  # of AWS
EXPIRED_ERRORS = (CredentialRetrievalError, TokenRetrievalError, UnauthorizedSSOTokenError)
# What object storage throws at us, in s3fs's translation or in botocore's own words.
STORAGE_ERRORS = (OSError, BotoCoreError, ClientError)
# What reading reports and tables may raise: storage's troubles, and those with what lies there.
READ_ERRORS = (*STORAGE_ERRORS, ValueError, KeyError, TypeError, pa.ArrowException)


def explain(error: BaseException) -> str:
    """One line for a storage error."""
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials found (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role)"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if _answer(error).get("Error", {}).get("Code") == "InvalidObjectState":
        return "archived, in a storage class such as Glacier: restore it first"
    if isinstance(error, PermissionError):
        return "access denied"
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def errors_as(
    kind: type[ConfigurationError | JobError], about: str, caught: tuple[type[Exception], ...] = STORAGE_ERRORS
) -> Iterator[None]:
    """Raise errors of storage as one line of a job's: `about` says which ("--output s3://b/x")."""
    try:
        yield
    except caught as error:
        raise kind(f"{about}: {explain(error)}") from error


def failure_code(error: BaseException) -> FailureCode:
    """What a storage error means for the recording that met it."""
    if isinstance(error, FileNotFoundError):
        return FailureCode.NOT_FOUND
    if isinstance(error, PermissionError):
        return FailureCode.FORBIDDEN
    return FailureCode.STORAGE_ERROR


def _answer(error: BaseException) -> dict[str, Any]:
    """What the server answered, of a storage error: s3fs keeps it below its own."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}


def status(error: BaseException) -> int | None:
    """The HTTP status of a server's answer; None where it gave none."""
    return _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")


def credentials_expired(error: BaseException) -> bool:
    """Whether a storage error speaks of credentials that are no longer valid, whatever the object."""
    return isinstance(error, EXPIRED_ERRORS) or _answer(error).get("Error", {}).get("Code") in EXPIRED_CODES


def access_refused(error: BaseException) -> bool:
    """Whether storage refuses us: the credentials have expired, or do not allow what was asked."""
    return credentials_expired(error) or isinstance(error, PermissionError) or status(error) in (401, 403)
