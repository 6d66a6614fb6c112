"""Copies a registry and the files beside it from S3 or SSM Parameter Store into a folder; all other rooms read files.

It reads no registry and keeps no prompt but those copies. A copy is complete or not there: it is made in a folder of
its own, and then a symlink is moved to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from botocore import exceptions as boto

from keepwarm.errors import ConfigError, Problem
from keepwarm.settings import make_private
from keepwarm.traffic import aws

MAX_FILES = 10_000
MAX_BYTES = 500_000_000

_CURRENT = "current"
_VERSIONS = ".versions.json"
_S3, _SSM = "s3://", "ssm:/"


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a registry is kept.

    Attributes:
        service: `s3` or `ssm`.
        bucket: of S3, else empty.
        folder: what keys begin with that belong to it; the registry and all that lies beside or below it.
        name: of the registry within the folder.
    """

    service: str
    bucket: str
    folder: str
    name: str


def remote_of(source: str, key: str) -> Remote | None:
    """Take `s3://bucket/folder/registry.yaml` or `ssm:/folder/registry.yaml` apart; None for a file.

    Args:
        key: the setting it is from, for the error.

    Raises:
        ConfigError: a bucket without a key, or a parameter that lies in no folder.
    """
    if source.startswith(_S3):
        bucket, _, path = source.removeprefix(_S3).partition("/")
        folder, _, name = path.rpartition("/")
        if bucket and name:
            return Remote("s3", bucket, f"{folder}/" if folder else "", name)
        raise _misnamed(key, source, "s3://bucket/folder/registry.yaml")
    if source.startswith(_SSM):
        folder, _, name = source.removeprefix("ssm:").rpartition("/")
        if folder and name:
            return Remote("ssm", "", f"{folder}/", name)
        raise _misnamed(key, source, "ssm:/folder/registry.yaml")
    return None


def _misnamed(key: str, source: str, example: str) -> ConfigError:
    return ConfigError([Problem("environment", 0, key, f"{source!r} names no registry; write for example {example}")])


class Mirror:
    """The newest whole copy of a remote registry, for all processes that share its home.

    Args:
        home: the folder of its copies, made when it is not there.
        connect: gives a boto3 client for `s3` or `ssm`.
    """

    def __init__(self, remote: Remote, home: Path, connect: Callable[[str, str], Any] = aws.connect) -> None:
        self._remote = remote
        self._home = home
        self._connect = connect

    @property
    def path(self) -> Path:
        """The copy of the registry; its folder moves with every new copy."""
        return self._home / _CURRENT / self._remote.name

    def changed(self) -> bool:
        """Whether there is something newer than the copy; nothing is copied.

        Raises:
            KeepwarmError: AWS cannot be asked.
        """
        with self._in_words():
            return self._list()[0] != self._copied()

    def refresh(self) -> bool:
        """Copy everything anew if anything has changed.

        Returns:
            Whether there is a new copy.

        Raises:
            KeepwarmError: it cannot be read, or is too large; the copy before stays.
        """
        with self._in_words():
            make_private(self._home)
            with (self._home / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # a command beside a daemon waits its turn
                return self._refresh()

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (boto.BotoCoreError, boto.ClientError) as error:
            told = aws.translate(error)
            raise type(told)(f"the registry in {self._named} cannot be read: {told}", hint=self._hint) from None
        except OSError as error:
            message = f"a copy of the registry cannot be written: {error.strerror}"
            raise ConfigError([Problem(str(self._home), 0, "", message)], hint="check the disk") from None

    def _list(self) -> _Listing:
        client = self._connect(self._remote.service, "")
        return (_list_s3 if self._remote.service == "s3" else _list_ssm)(client, self._remote)

    def _refresh(self) -> bool:
        versions, read = self._list()
        if self._remote.name not in versions:
            raise ConfigError([Problem(self._named, 0, "", "there is no registry")], hint=self._hint)
        if versions == self._copied():
            return False
        fresh = Path(tempfile.mkdtemp(dir=self._home, prefix=f"{_digest(versions)}-"))
        try:
            for name in versions:
                target = fresh / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(read(name))
            (fresh / _VERSIONS).write_text(json.dumps(versions))
            self._move_to(fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return True

    def _copied(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self._home / _CURRENT / _VERSIONS).read_text()))
        return {}

    def _move_to(self, fresh: Path) -> None:
        current = self._home / _CURRENT
        before = current.resolve() if current.is_symlink() else None
        moving = self._home / f".{fresh.name}"
        moving.symlink_to(fresh.name)
        os.replace(moving, current)  # noqa: PTH105 Path.replace follows no symlink either, but says so less plainly
        for old in self._home.iterdir():  # the one before stays: somebody may be reading it
            if old.is_dir() and not old.is_symlink() and old not in {fresh, before}:
                shutil.rmtree(old, ignore_errors=True)

    @property
    def _named(self) -> str:
        scheme = f"s3://{self._remote.bucket}/" if self._remote.service == "s3" else "ssm:"
        return f"{scheme}{self._remote.folder}{self._remote.name}"

    @property
    def _hint(self) -> str:
        if self._remote.service == "s3":
            return "grant s3:ListBucket on the bucket and s3:GetObject on the folder, and check the name"
        return "grant ssm:GetParametersByPath on the folder (and kms:Decrypt for SecureString), and check the name"


# Names of the files with what tells one content from another, and how to read one of them.
_Listing = tuple[dict[str, str], Callable[[str], bytes]]


def _list_s3(client: Any, remote: Remote) -> _Listing:
    versions: dict[str, str] = {}
    size = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=remote.bucket, Prefix=remote.folder):
        for found in page.get("Contents", ()):
            name = found["Key"][len(remote.folder) :]
            if name and not name.endswith("/"):
                versions[_safe(name)] = found["ETag"]
                size += found["Size"]
        _check(remote, len(versions), size)

    def read(name: str) -> bytes:
        wanted = {"Bucket": remote.bucket, "Key": remote.folder + name, "IfMatch": versions[name]}
        with contextlib.closing(client.get_object(**wanted)["Body"]) as body:
            return bytes(body.read())

    return versions, read


def _list_ssm(client: Any, remote: Remote) -> _Listing:
    values: dict[str, str] = {}
    versions: dict[str, str] = {}
    pages = client.get_paginator("get_parameters_by_path")
    for page in pages.paginate(Path=remote.folder, Recursive=True, WithDecryption=True):
        for found in page["Parameters"]:
            name = _safe(found["Name"][len(remote.folder) :])
            values[name] = found["Value"]
            versions[name] = str(found["Version"])
        _check(remote, len(values), sum(map(len, values.values())))
    return versions, lambda name: values[name].encode()


def _check(remote: Remote, files: int, size: int) -> None:
    if files > MAX_FILES or size > MAX_BYTES:
        message = f"more than {MAX_FILES:,} files or {MAX_BYTES // 1_000_000:,} MB lie beside the registry"
        raise ConfigError([Problem(remote.folder or "/", 0, "", message)], hint="keep it in a folder of its own")


def _safe(name: str) -> str:
    """A name that stays within the folder it is written to."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        raise ConfigError([Problem(name[:100], 0, "", "this name would be written outside its folder; rename it")])
    return name


def _digest(versions: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()[:12]
