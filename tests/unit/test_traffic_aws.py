from __future__ import annotations

import gzip
from io import BytesIO
from typing import Any

import pytest
from botocore import exceptions as boto

from keepwarm.traffic import aws
from keepwarm.traffic.aws import fetch_body, read_lines, split_uri, translate
from keepwarm.traffic.records import Skip


def refusal(code: str, status: int) -> boto.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "GetObject")


class Shelf:
    """An S3 client with one object, or one answer for every key."""

    def __init__(self, found: bytes | Exception) -> None:
        self.found = found

    def get_object(self, **_: str) -> dict[str, BytesIO]:
        if isinstance(self.found, Exception):
            raise self.found
        return {"Body": BytesIO(self.found)}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal("ThrottlingException", 400), "throttled"),
        (refusal("SlowDown", 503), "throttled"),
        (refusal("Anything", 429), "throttled"),
        (refusal("InternalError", 500), "unavailable"),
        (refusal("ExpiredToken", 400), "credentials_rejected"),
        (refusal("InvalidAccessKeyId", 403), "credentials_rejected"),
        (refusal("AccessDeniedException", 400), "access_denied"),
        (refusal("403", 403), "access_denied"),
        (refusal("ResourceNotFoundException", 400), "request_refused"),
        (boto.NoCredentialsError(), "credentials_rejected"),
        (boto.ProfileNotFound(profile="team"), "credentials_rejected"),
        (boto.NoRegionError(), "request_refused"),
        (boto.EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "unavailable"),
        (TimeoutError(), "unavailable"),
    ],
)
def test_every_failure_has_a_code_and_says_what_to_do(error, code):
    told = translate(error)
    assert told.code == code
    assert told.hint
    assert str(told)


def test_only_a_whole_uri_names_an_object():
    assert split_uri("s3://bucket/a/b.json") == ("bucket", "a/b.json")
    assert split_uri("s3://bucket") == ("bucket", "")
    assert split_uri("https://bucket/a") == split_uri("s3:///a") == split_uri("") == ("", "")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (gzip.compress(b'{"a": 1}', mtime=0), b'{"a": 1}'),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-4], Skip.TRUNCATED),
        (b"\x1f\x8bnonsense", Skip.TRUNCATED),
        (refusal("NoSuchKey", 404), Skip.BODY_MISSING),
        (refusal("AccessDenied", 403), Skip.BODY_DENIED),
    ],
)
def test_a_body_is_unpacked_or_has_a_reason(found, told):
    assert fetch_body(Shelf(found), "s3://bucket/key") == told


def test_a_body_that_may_be_had_later_is_a_failure():
    with pytest.raises(boto.ClientError):
        fetch_body(Shelf(refusal("SlowDown", 503)), "s3://bucket/key")


def test_a_body_over_the_limit_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aws, "MAX_BODY_BYTES", 100)
    assert fetch_body(Shelf(b"x" * 100), "s3://bucket/key") == b"x" * 100
    for found in (b"x" * 101, gzip.compress(b"x" * 101)):
        assert fetch_body(Shelf(found), "s3://bucket/key") is Skip.TOO_LARGE


def test_a_line_over_the_limit_costs_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aws, "MAX_RECORD_BYTES", 10)
    for lines, told in [
        (b"one\n" + b"x" * 55 + b"\ntwo\n\nthree", [b"one\n", Skip.TOO_LARGE, b"two\n", b"three"]),
        (b"x" * 10 + b"\ntwo", [Skip.TOO_LARGE, b"two"]),
        (b"x" * 55, [Skip.TOO_LARGE]),
        (b"x" * 9 + b"\ntwo", [b"x" * 9 + b"\n", b"two"]),
    ]:
        assert list(read_lines(Shelf(gzip.compress(lines)), "bucket", "key")) == told
