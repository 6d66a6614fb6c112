"""boto3 for the sources of traffic: clients, S3 objects in bounded memory, and errors in keepwarm's words.

It knows no record and keeps no position. botocore sends again by itself here: reading a log twice costs nothing.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config

from keepwarm import __version__
from keepwarm.errors import AccessDenied, CredentialsRejected, KeepwarmError, RequestRefused, Throttled, Unavailable
from keepwarm.traffic.records import MAX_BODY_BYTES, MAX_RECORD_BYTES, Skip

# What a call may raise, also while its answer is still being read.
FAILURES = (boto.BotoCoreError, boto.ClientError, HTTPException, OSError)

_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)
_GZIP = b"\x1f\x8b"
_MAX_MESSAGE = 300

_THROTTLED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "SlowDown",
    "TooManyRequestsException", "LimitExceededException",
})  # fmt: skip
_CREDENTIALS = frozenset({
    "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired",
    "RequestTimeTooSkewed", "MissingAuthenticationTokenException",
})  # fmt: skip
_NOT_THERE = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_BY_CLASS: dict[tuple[type[Exception], ...], type[KeepwarmError]] = {
    (
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
        boto.TokenRetrievalError, boto.SSOError,
    ): CredentialsRejected,
    (boto.NoRegionError, boto.ParamValidationError, boto.InvalidRegionError): RequestRefused,
}  # fmt: skip

_HINTS: dict[type[KeepwarmError], str] = {
    Throttled: "raise KEEPWARM_TRAFFIC_POLL_SECONDS, or ask for a higher quota",
    Unavailable: "check the network, DNS and certificates on the way to AWS",
    CredentialsRejected: "check the credentials and the machine's clock",
    AccessDenied: (
        "grant logs:FilterLogEvents on the log group, s3:ListBucket and s3:GetObject on the bucket of the logs, or "
        "cloudwatch:GetMetricData"
    ),
    RequestRefused: "check KEEPWARM_TRAFFIC_LOG_GROUP, KEEPWARM_TRAFFIC_S3 and KEEPWARM_TRAFFIC_REGION",
}


def connect(service: str, region: str) -> Any:
    """A client of this machine's own credentials; an empty region is that of the AWS configuration."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=10,
        read_timeout=60,
        user_agent_extra=f"keepwarm/{__version__}",
    )
    return boto3.session.Session().client(service, region_name=region or None, config=config)


def translate(error: Exception) -> KeepwarmError:
    """What went wrong, in keepwarm's words."""
    kind = _kind(error)
    message = " ".join(str(error).split())[:_MAX_MESSAGE]
    return kind(message or type(error).__name__, hint=_HINTS[kind])


def _kind(error: Exception) -> type[KeepwarmError]:
    if not isinstance(error, boto.ClientError):
        return next((kind for errors, kind in _BY_CLASS.items() if isinstance(error, errors)), Unavailable)
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _THROTTLED or status == 429:
        return Throttled
    if code in _CREDENTIALS:
        return CredentialsRejected
    if status >= 500:
        return Unavailable
    return AccessDenied if status == 403 or "AccessDenied" in code else RequestRefused


# -- S3 -----------------------------------------------------------------------------------------------------------


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; both empty for anything else."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return (bucket, key) if scheme == "s3" and bucket else ("", "")


def fetch_body(s3: Any, uri: str) -> bytes | Skip:
    """The JSON text of a body that stands in an object of its own, unpacked; or why it cannot be had.

    Raises:
        botocore's errors, when trying again later may help.
    """
    bucket, key = split_uri(uri)
    if not key:
        return Skip.BODY_MISSING
    try:
        with closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as raw:
            packed = raw.read(MAX_BODY_BYTES + 1)
    except boto.ClientError as error:
        if error.response.get("Error", {}).get("Code") in _NOT_THERE:
            return Skip.BODY_MISSING
        if _kind(error) is AccessDenied:
            return Skip.BODY_DENIED
        raise
    return _unpack(packed)


def read_lines(s3: Any, bucket: str, key: str) -> Iterator[bytes | Skip]:
    """The lines of a gzipped object, one at a time; a line that is too long, or a damaged end, is a reason instead.

    Raises:
        botocore's errors; the lines before then were read.
    """
    with closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as raw:
        try:
            yield from _lines(gzip.GzipFile(fileobj=raw))
        except _DAMAGED:
            yield Skip.TRUNCATED


def _lines(unpacked: gzip.GzipFile) -> Iterator[bytes | Skip]:
    while line := unpacked.readline(MAX_RECORD_BYTES + 1):
        if len(line) <= MAX_RECORD_BYTES:
            if line.strip():
                yield line
            continue
        yield Skip.TOO_LARGE
        while line and not line.endswith(b"\n"):
            line = unpacked.readline(MAX_RECORD_BYTES)


def _unpack(packed: bytes) -> bytes | Skip:
    """At most as many bytes as a body may have, however far they were packed."""
    if not packed.startswith(_GZIP):
        return packed if len(packed) <= MAX_BODY_BYTES else Skip.TOO_LARGE
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(packed, MAX_BODY_BYTES + 1)
    except zlib.error:
        return Skip.TRUNCATED
    if len(text) > MAX_BODY_BYTES:
        return Skip.TOO_LARGE
    return text if unpacker.eof else Skip.TRUNCATED
