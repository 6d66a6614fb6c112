"""The wheel and the sdist: whole, and of use in an environment that knows nothing of this tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepwarm.emulator import Emulator
from tests.builders import shipped_catalog
from tests.images import ROOT, say

_OWN = ("keepwarm", "pyproject.toml", "README.md", "LICENSE")
_SDIST = "import setuptools.build_meta as backend; print(backend.build_sdist('.'))"
_OLDER, _NEWEST = (3, 11), (3, 13)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sources")
    for name in _OWN:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    return place


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    return build_wheel(sources, sources / "dist")


def build_wheel(sources: Path, target: Path) -> Path:
    """Built by the setuptools of the lock file, which is installed here."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    say([*command, "--wheel-dir", target, sources])
    (made,) = target.glob("*.whl")
    return made


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(sources: Path, wheel: Path):
    package = {str(path.relative_to(sources)) for path in (sources / "keepwarm").rglob("*") if path.is_file()}
    inside = {name for name in names(wheel) if ".dist-info/" not in name}
    assert inside == package
    assert {"keepwarm/py.typed", "keepwarm/data/models.json"} <= inside
    assert [name for name in names(wheel) if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_sdist_builds_the_same_wheel(sources: Path, wheel: Path, tmp_path: Path):
    named = say([sys.executable, "-c", _SDIST], cwd=sources).split()[-1]
    with tarfile.open(sources / named) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert names(build_wheel(unpacked, tmp_path / "dist")) == names(wheel)


def test_the_wheel_runs_where_only_its_dependencies_are(wheel: Path, tmp_path: Path):
    """Those of this environment, which are the locked ones; `.pth` files in them, such as this tree's, do not count."""
    room = tmp_path / "room"
    say([sys.executable, "-m", "venv", "--without-pip", room])
    site = room / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = room / "bin/python"
    say(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--ignore-installed",
            wheel,
        ]
    )
    use(room, tmp_path)


def interpreters() -> Iterator[tuple[str, str]]:
    """Every Python that keepwarm promises to run on, with where it is; empty when it is not on this machine."""
    for minor in range(_OLDER[1], _NEWEST[1] + 1):
        name = f"python3.{minor}"
        beside = Path(sys.base_prefix).parent.glob(f"3.{minor}.*/bin/{name}")  # as version managers keep them
        found = [str(path) for path in beside] + [path for path in [shutil.which(name)] if path]
        works = [
            path for path in found if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
        ]
        yield name, works[0] if works else ""


@pytest.mark.skipif(not os.environ.get("TEST_WHEEL"), reason="downloads everything anew for each Python: TEST_WHEEL=1")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [f"python3.{minor}" for minor in range(_OLDER[1], _NEWEST[1] + 1)])
def test_the_wheel_installs_from_the_lock_file_and_runs_on_every_python(name: str, wheel: Path, tmp_path: Path):
    interpreter = dict(interpreters())[name]
    if not interpreter:
        pytest.skip(f"no {name} on this machine")
    room = tmp_path / "room"
    say([interpreter, "-m", "venv", room])
    pip = [room / "bin/python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    say([*pip, "--require-hashes", "-r", ROOT / "requirements/run.txt"])
    say([*pip, "--no-deps", wheel])
    use(room, tmp_path)


def use(room: Path, place: Path) -> None:
    """Do with an installation what its first user does, far from this tree."""
    shutil.copytree(ROOT / "config", place / "config")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_", "PYTHON"))}
    own |= {
        "KEEPWARM_STATE_DIR": str(place / "state"),
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    program = room / "bin/keepwarm"
    with Emulator(catalog=shipped_catalog(), time_scale=0.02, seed=7) as emulator:
        own["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = emulator.url

        def keepwarm(*arguments: str) -> str:
            return say([program, *arguments], cwd=place, env=own)

        version = keepwarm("--version")
        assert re.match(r"keepwarm \d+\.\d+\.\d+\n", version)
        assert "missing" not in version
        assert "--time-scale" in keepwarm("emulate", "--help")
        assert "no problem" in keepwarm("check", "config/registry.yaml")
        assert "rewrite" in keepwarm("ping", "support-bot")
        assert "hit" in keepwarm("ping", "support-bot")
        assert "support-bot" in keepwarm("report")
    where = say([room / "bin/python", "-c", "import keepwarm; print(keepwarm.__file__)"], cwd=place, env=own)
    assert Path(where.strip()).is_relative_to(room)
    page = "from keepwarm.web import page; from importlib.resources import files; "
    page += "print(len(list((files(page) / 'assets').iterdir())), len(list((files(page) / 'templates').iterdir())))"
    assets, templates = say([room / "bin/python", "-c", page], cwd=place, env=own).split()
    assert int(assets) > 5
    assert int(templates) > 0
