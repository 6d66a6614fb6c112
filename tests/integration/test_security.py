"""What people who mean no good may try: files that are none, folders that others share, odd bytes over HTTP.

docs/security.md tells what each holds against, and where the other tests of it are.
"""

from __future__ import annotations

import hmac
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm import telemetry
from keepwarm.clock import monotonic_seconds
from keepwarm.errors import ConfigError
from keepwarm.ledger import Ledger
from keepwarm.mirror import Mirror, Remote
from keepwarm.parts import read_registry
from keepwarm.registry import Files, load_catalog, load_registry
from keepwarm.registry.production import production_prefix
from keepwarm.settings import Settings, fingerprint_key, load_settings
from keepwarm.web import Access, Address, Offers, Server, make_app, replies, server
from tests.builders import CLAUDE
from tests.integration.test_web import Ear, ask, batch

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
CANARY = "canary-77aa"
HOST = frozenset({"127.0.0.1"})
# Each three times the one before: 3^20 values out of twenty lines.
FOLDS = [(f"a{level}", f"*a{level - 1}" if level else "x") for level in range(20)]


# -- files --------------------------------------------------------------------------------------------------------


def registry_naming(folder: Path, **source: object) -> Path:
    path = folder / "registry.yaml"
    entry = {"name": "a", "model_id": CLAUDE, "region": "eu-central-1", "api": "converse", "busy_hours": "always"}
    path.write_text(json.dumps({"version": 1, "prefixes": [entry | {"min_tokens": 1} | source]}))
    return path


def refusal(path: Path, **how: bool) -> str:
    """Why a registry is refused; never later than in seconds."""
    began = monotonic_seconds()
    with pytest.raises(ConfigError) as caught:
        load_registry(path, load_catalog(None), b"key", NOW, **how)
    assert monotonic_seconds() - began < 10
    return str(caught.value)


def odd_files(folder: Path) -> dict[str, str]:
    """Names that are no files with a prompt in them."""
    os.mkfifo(folder / "pipe")
    (folder / "link-to-pipe").symlink_to("pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "link-to-kernel").symlink_to("/proc/self/environ")
    (folder / "link-to-device").symlink_to("/dev/zero")
    with closing(socket.socket(socket.AF_UNIX)) as line:
        line.bind(str(folder / "socket"))
    return {
        "pipe": "no regular file", "link-to-pipe": "no regular file", "folder": "directory", "loop": "cannot be read",
        "link-to-kernel": "no regular file", "link-to-device": "no regular file", "socket": "cannot be read",
        "/dev/zero": "no regular file", "/dev/tty": "cannot be read", "/proc/self/environ": "no regular file",
        "/proc/self/mem": "cannot be read", "/proc/kmsg": "cannot be read", "nowhere/../../x": "cannot be read",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["request", "system"])
def test_what_is_no_file_of_a_disk_is_refused_and_holds_nobody_up(tmp_path: Path, key: str, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    for name, words in odd_files(tmp_path).items():
        told = refusal(registry_naming(tmp_path, **{key: {"file": name} if key == "system" else name}))
        assert words in told, name
        assert CANARY not in told


def test_a_registry_or_a_catalog_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        load_catalog(tmp_path / "pipe")


def test_a_file_that_turns_into_a_pipe_holds_no_watcher_up(tmp_path: Path) -> None:
    files = Files()
    load_registry(registry_naming(tmp_path, system={"text": "x"}), load_catalog(None), b"key", NOW, files)
    (tmp_path / "registry.yaml").unlink()
    os.mkfifo(tmp_path / "registry.yaml")
    asked = threading.Thread(target=lambda: found.append(files.changed(thorough=True)), daemon=True)
    found: list[bool] = []
    asked.start()
    asked.join(10)
    assert found == [True]


def test_a_link_to_a_file_is_followed_as_kubernetes_needs_it(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "prompt.md").write_text("stable")
    (tmp_path / "prompt.md").symlink_to("..data/prompt.md")
    path = registry_naming(tmp_path, system={"file": "prompt.md"})
    assert load_registry(path, load_catalog(None), b"key", NOW).prefixes


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "./../secret", "prompts/../../secret"])
@pytest.mark.parametrize("key", ["request", "system"])
def test_a_registry_from_another_machine_reads_no_file_of_this_one(tmp_path: Path, name: str, key: str) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (tmp_path / "secret").write_text(CANARY)
    path = registry_naming(folder, **{key: {"file": name} if key == "system" else name})
    told = refusal(path, confined=True)
    assert "lies outside the folder" in told
    assert CANARY not in told


def test_doctor_reads_no_other_file_either_when_the_registry_has_changed_since(tmp_path: Path) -> None:
    path = registry_naming(tmp_path, system={"text": "stable"})
    prefix = load_registry(path, load_catalog(None), b"key", NOW, confined=True).prefixes[0]
    assert production_prefix(path, prefix, confined=True).name == "a"
    registry_naming(tmp_path, system={"file": "/etc/passwd"})
    with pytest.raises(ConfigError, match="lies outside the folder"):
        production_prefix(path, prefix, confined=True)


def test_a_registry_in_s3_reads_no_file_of_this_machine(cloud: str, tmp_path: Path) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="prompts")
    (tmp_path / "state").mkdir()
    local = registry_naming(tmp_path, system={"file": "../../fingerprint.key"})
    s3.put_object(Bucket="prompts", Key="team/registry.yaml", Body=local.read_bytes())
    settings = Settings(registry="s3://prompts/team/registry.yaml", state_dir=tmp_path / "state")
    with pytest.raises(ConfigError, match="lies outside the folder of a registry that comes from S3"):
        read_registry(settings, NOW)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("".join(f"{name}: &{name} [{of}{', ' + of}{', ' + of}]\n" for name, of in FOLDS), "aliases may not multiply"),
        ("[" + "1," * 600_000 + "1]", "holds more than"),
        ("a: |\n" + ("  " + "x" * 1_000 + "\n") * 100_000, "is larger than"),
    ],
    ids=["aliases", "values", "bytes"],
)
def test_a_registry_that_would_fill_the_memory_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "registry.yaml").write_text(text)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000,) * 2)\n"
        "from pathlib import Path; from keepwarm.registry import document\n"
        "document._MAX_NODES //= 10\n"  # seconds less, and the same code
        "try: document.read_document(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "registry.yaml")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.startswith("ConfigError"), done.stderr[-500:]
    assert words in done.stdout


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def others_may(place: Path) -> list[Path]:
    """What others than the owner may do anything with."""
    return [path for path in (place, *place.rglob("*")) if not path.is_symlink() and mode(path) & 0o077]


class OneFile:
    """As much of S3 as a mirror asks for."""

    def get_paginator(self, _: str) -> OneFile:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": "f/registry.yaml", "ETag": "1", "Size": 1}]}]

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(b"version: 1")}


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o077])
def test_the_state_directory_is_private_whatever_the_umask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bits: int
) -> None:
    state = tmp_path / "above" / "state"
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(state))
    settings = load_settings(os.environ)
    with umask(bits):
        Mirror(Remote("s3", "b", "f/", "registry.yaml"), state / "registry", lambda *_: OneFile()).refresh()
        fingerprint_key(settings)
        with Ledger.open(settings.ledger) as ledger:
            ledger.set_cursor("x", "y", NOW)
            made = sorted(path.name for path in state.iterdir())
            assert made == ["fingerprint.key", "ledger.sqlite", "ledger.sqlite-shm", "ledger.sqlite-wal", "registry"]
            open_to_others = [
                path for path in others_may(tmp_path / "above") if (state / "registry") not in path.parents
            ]
    assert open_to_others == []
    assert mode(state / "fingerprint.key") == mode(state / "ledger.sqlite") == 0o600
    assert mode(state / "registry") == 0o700  # what lies in it is reached by nobody else


def test_a_crash_of_the_command_line_shows_no_local_values(tmp_path: Path) -> None:
    """Pretty tracebacks of libraries would print every local variable, prompts among them."""
    code = (
        "from keepwarm.cli import main\nfrom keepwarm.cli.app import app\n"
        "import typer\n"
        "@app.command()\n"
        "def crash() -> None:\n"
        "    prompt = 'canary' + '-5f1c'\n"
        "    raise RuntimeError('x')\n"
        "import sys; sys.argv = ['keepwarm', 'crash']; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "RuntimeError" in done.stderr
    assert CANARY not in done.stderr + done.stdout


# -- HTTP ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(access: Access | None = None) -> Iterator[tuple[str, int]]:
    with Server(make_app(Ear(), access or Access(hosts=HOST), Offers()), Address("127.0.0.1", 0)) as running:
        yield running.address.host, running.address.port


def raw(place: tuple[str, int], sent: bytes) -> bytes:
    """Everything that is answered to these bytes."""
    with closing(socket.create_connection(place, timeout=20)) as line:
        line.sendall(sent)
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_line_breaks_in_a_request_reach_no_header_and_no_log() -> None:
    lines = io.StringIO()
    telemetry.configure("debug", "console", lines)
    injected = b"\r\nX-Injected: 1"
    end = b"\r\nConnection: close\r\n\r\n"
    get, post = (method + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" for method in (b"GET /", b"POST /v1/touches"))
    tries = [
        b"GET /v1/prefixes/a%0d%0aX-Injected:%201/ttl HTTP/1.1\r\nHost: 127.0.0.1" + end,
        b"GET /-/x?%0d%0aX-Injected:1 HTTP/1.1\r\nHost: 127.0.0.1" + end,
        get + b"User-Agent: x\n2026 forged line\x1b[2J" + end,
        get + b"User-Agent: canary-77aa\r\nReferer: canary-77aa" + end,
        b"G\x1b[2JT / HTTP/1.1\r\nHost: 127.0.0.1" + end,
        get + b"Host: evil" + end,
        post + b"Content-Length: 5\r\nTransfer-Encoding: chunked" + end + b"0\r\n\r\n",
        post + b"Content-Length: -1" + end,
        post + b"Content-Length: " + b"9" * 5_000 + end,
    ]
    with serving() as place:
        for sent in tries:
            answer = raw(place, sent)
            assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 503")), (sent, answer)
            assert injected not in answer.partition(b"\r\n\r\n")[0]
        assert ask(f"http://{place[0]}:{place[1]}/v1/touches", batch()).status == 200
    assert CANARY not in lines.getvalue()
    assert "\x1b[2J" not in lines.getvalue()
    assert "forged" not in lines.getvalue()
    assert "Traceback" not in lines.getvalue()


def test_tokens_are_compared_as_digests_of_one_length_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noting(given: bytes, expected: bytes) -> bool:
        lengths.append((len(given), len(expected)))
        return compare(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    with serving(Access("act", "a much longer token that only reads", HOST)) as (host, port):
        for token in ("act", "x", "y" * 10_000, "a much longer token that only reads"):
            ask(f"http://{host}:{port}/openapi.json", Authorization=f"Bearer {token}")
    assert lengths == [(32, 32)] * 8  # both, whatever the first says


def test_as_many_slow_connections_as_anybody_likes_are_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADERS_SECONDS", 1.0)
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 20)
    with serving() as place, ExitStack() as held:
        for _ in range(40):
            held.enter_context(closing(socket.create_connection(place, timeout=10))).sendall(b"GET / HT")
        full = raw(place, b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert full.startswith(b"HTTP/1.1 503")
        began = monotonic_seconds()
        while not raw(place, b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        ):
            assert monotonic_seconds() - began < 15


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "_BODY_SECONDS", 0.5)
    monkeypatch.setattr(replies, "_FORGET_SECONDS", 0.5)
    with serving() as place, closing(socket.create_connection(place, timeout=20)) as line:
        line.sendall(b"POST /v1/touches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
        assert line.recv(100).startswith(b"HTTP/1.1 413")
