"""A machine of its own, booted with a real systemd: a container on this machine's `/usr`, gone when it is closed."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path

import keepwarm
from tests.daemons import PATIENCE_SECONDS, soon

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What keepwarm needs there, and no installation would: it runs from this tree, by this interpreter.
ENVIRONMENT = ("PYTHONPATH=/opt/source", "LD_LIBRARY_PATH=/opt/python/lib")
_PROGRAM = "#!/opt/keepwarm/bin/python\nfrom keepwarm.cli import main\n\nmain()\n"


class Machine:
    """A booted systemd that knows the units it is given, with keepwarm in /opt/keepwarm and no network but its own.

    Args:
        place: an empty directory for what is mounted into it.
        units: by name; there must be a `default.target`.
        files: more, by their path on the machine, where they can be only read.
    """

    def __init__(self, place: Path, units: dict[str, str], files: dict[str, str]) -> None:
        self._root = place
        binds = [*self._program(place / "keepwarm"), *self._files(place, units, files)]
        self._log = place / "console"
        with self._log.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", "--register=no", "--keep-unit"),
                    *("--private-network", "--console=pipe", "--kill-signal=SIGRTMIN+4"),
                    *(f"--bind-ro={source}:{target}" for source, target in binds),
                    "--boot",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            assert soon(self._is_up, PATIENCE_SECONDS), self.console
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _program(place: Path) -> list[tuple[Path | str, str]]:
        """This interpreter with its packages as a virtual environment, since services see no homes."""
        (place / "bin").mkdir(parents=True)
        packages = place / "lib" / _PYTHON / "site-packages"
        packages.mkdir(parents=True)
        (place / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
        (place / "bin/python").symlink_to(f"/opt/python/bin/{_PYTHON}")
        (place / "bin/keepwarm").write_text(_PROGRAM)
        (place / "bin/keepwarm").chmod(0o755)
        return [
            (sys.base_prefix, "/opt/python"),
            (place, "/opt/keepwarm"),
            (sysconfig.get_path("purelib"), f"/opt/keepwarm/lib/{_PYTHON}/site-packages"),
            (Path(keepwarm.__file__).parent, "/opt/source/keepwarm"),
        ]

    @staticmethod
    def _files(place: Path, units: dict[str, str], files: dict[str, str]) -> list[tuple[Path | str, str]]:
        # With an identity it is no first boot, at which systemd would enable every service of this machine.
        files = files | {"/etc/machine-id": f"{uuid.uuid4().hex}\n"}
        by_path = {f"/run/systemd/system/{name}": text for name, text in units.items()} | files
        for path, text in by_path.items():
            mine = place / "files" / path.lstrip("/")
            mine.parent.mkdir(parents=True, exist_ok=True)
            mine.write_text(text)
        for path in (place / "files").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        tops = ["/run/systemd/system", *sorted({"/".join(path.split("/")[:3]) for path in files})]
        return [(place / "files" / top.lstrip("/"), top) for top in tops]

    @property
    def console(self) -> str:
        return self._log.read_text(errors="replace")

    def file(self, path: str) -> Path:
        """A file that was given, to be changed from outside."""
        return self._root / "files" / path.lstrip("/")

    def run(self, command: str, *, check: bool = True, seconds: float = 60) -> str:
        """What a command says on stdout, run by root on the machine."""
        done = self._enter(command, seconds)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def returns(self, command: str, seconds: float = 60) -> int:
        """The exit code of a command run by root on the machine."""
        return self._enter(command, seconds).returncode

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --value --property={name} {unit}").strip()

    def close(self) -> None:
        """Power off; and hard, if that takes too long."""
        if self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(15)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

    def _is_up(self) -> bool:
        assert self._nspawn.poll() is None, self.console
        return bool(self._leader) and self.returns("systemctl is-active --quiet default.target") == 0

    @property
    def _leader(self) -> str:
        """The machine's first process, as this machine numbers it; empty as long as there is none."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return children[0] if children else ""

    def _enter(self, command: str, seconds: float) -> subprocess.CompletedProcess[str]:
        nsenter = shutil.which("nsenter") or "nsenter"
        return subprocess.run(
            [nsenter, "--target", self._leader, "--all", *shlex.split(command)],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TERM": os.environ.get("TERM", "dumb")},
        )
