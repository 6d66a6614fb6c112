"""The container image, built and run without a Docker engine: buildah and podman, on a base made by mmdebstrap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BASE = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
# Where Docker's official images differ from Debian's package: `python` is there, and no documentation.
_BOOTSTRAP = [
    *("mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-venv,python-is-python3,ca-certificates"),
    *(f"--dpkgopt=path-exclude=/usr/share/{unwanted}/*" for unwanted in ("doc", "man", "locale")),
]
# podman's own are more than a container within a container may have.
_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=512:512"]
USER = 10001
REVISION = "the-commit-of-the-test"


def say(command: list[str | Path], **more: Any) -> str:
    """What a program says on stdout.

    Raises:
        AssertionError: it failed; with all that it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


class Image:
    """keepwarm's image in a store of its own.

    Args:
        place: an empty directory.
    """

    name = "localhost/keepwarm:test"

    def __init__(self, place: Path) -> None:
        self._place = place
        self._store = ["--storage-driver", "vfs", "--root", str(place / "store"), "--runroot", str(place / "run")]
        self._podman = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", *self._store]
        self._buildah = ["buildah", *self._store]
        self.base = self._make_base()
        self._build()

    def _make_base(self) -> str:
        """The Dockerfile's base as this machine can make it; its name with its digest."""
        archive = self._place / "base.tar"
        say([*_BOOTSTRAP, "trixie", archive])
        self.podman("import", str(archive), _BASE)
        archive.unlink()
        digest = self.podman("image", "inspect", "--format", "{{.Digest}}", _BASE).strip()
        return f"{_BASE.partition(':')[0]}@{digest}"

    def _build(self) -> None:
        mounts = [part for mount in pip_mounts(self._place) for part in ("--volume", f"{mount}:ro")]
        version = re.findall(r'__version__ = "(.*)"', (ROOT / "keepwarm/__init__.py").read_text())[0]
        facts = {"BASE": self.base, "VERSION": version, "REVISION": REVISION}
        given = [part for name, value in facts.items() for part in ("--build-arg", f"{name}={value}")]
        options = ["--isolation", "chroot", "--pull=never", "--format", "docker"]
        say([*self._buildah, "build", *options, *mounts, *given, "--tag", self.name, str(ROOT)])

    def podman(self, *command: str) -> str:
        """What podman says."""
        return say([*self._podman, *command])

    def said(self, name: str) -> list[dict[str, Any]]:
        """The log of a container, each line JSON."""
        done = subprocess.run([*self._podman, "logs", name], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]

    def start(self, name: str, registry: Path, state: Path, **variables: str) -> None:
        """Start the image's own command as a careful operator would, on this machine's network."""
        given = [part for item in variables.items() for part in ("--env", "=".join(item))]
        self.podman(
            *("run", "--detach", "--name", name, "--network", "host", "--no-healthcheck"),
            *("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *_LIMITS,
            *("--volume", f"{registry}:/etc/keepwarm:ro", "--volume", f"{state}:/var/lib/keepwarm", *given),
            self.name,
        )

    def once(self, *command: str, program: str = "keepwarm") -> str:
        """What a program in it says, without network."""
        options = ["--rm", "--network", "none", "--read-only", *_LIMITS, "--entrypoint", program]
        return self.podman("run", *options, self.name, *command)

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """All that is known of an image or a container."""
        found: dict[str, Any] = json.loads(self.podman(kind, "inspect", name))[0]
        return found

    def unpacked(self) -> Path:
        """Its files, to look at."""
        container = say([*self._buildah, "from", "--pull-never", self.name]).strip()
        return Path(say([*self._buildah, "mount", container]).strip())

    def packed_bytes(self, name: str) -> int:
        """How much is pulled of an image: its layers, compressed."""
        target = self._place / "packed" / re.sub(r"\W+", "-", name)
        target.parent.mkdir(exist_ok=True)
        self.podman("push", "--quiet", "--compress", name, f"dir:{target}")
        return sum(path.stat().st_size for path in target.iterdir())

    def close(self) -> None:
        """Give back what it took."""
        self.podman("rm", "--all", "--force")
        say([*self._buildah, "rm", "--all"])
        self.podman("rmi", "--all", "--force")


def pip_mounts(place: Path) -> list[str]:
    """What pip needs here to reach packages, as mounts of a build: its configuration, and the files that it names."""
    told = dict(
        re.findall(r"^\S*\.([\w-]+)='(.*)'$", say([sys.executable, "-m", "pip", "config", "list"]), re.MULTILINE)
    )
    own = place / "pip.conf"
    own.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in told.items()))
    named = [Path(word.removeprefix("file://")) for value in told.values() for word in value.split()]
    # An index on disk has its files beside it.
    needed = {path.parent if path.name == "simple" else path for path in named if path.is_absolute() and path.exists()}
    return [f"{own}:/etc/pip.conf", *(f"{path}:{path}" for path in sorted(needed))]
