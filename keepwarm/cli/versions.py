"""What `--version` tells: the version, what it was built from, and what it runs on.

It asks the installed packages and imports none of them.
"""

from __future__ import annotations

import platform
import re
import sqlite3
from importlib import metadata, resources

from keepwarm import __version__

_PACKAGE = "keepwarm"


def versions() -> str:
    """One line for keepwarm and its build, one for the platform, and one for each package that it needs."""
    told = [
        f"{_PACKAGE} {__version__}",
        f"build {_build()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}",
        *(f"{name} {_version(name)}" for name in _needed()),
    ]
    return "\n".join(told)


def _build() -> str:
    """The commit that the builder wrote down; a tree of sources has none."""
    written = resources.files(_PACKAGE) / "data" / "build"
    return written.read_text().strip() if written.is_file() else "from sources"


def _needed() -> list[str]:
    """Names of the packages that keepwarm asks for, without those of its extras."""
    try:
        required = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:  # run from sources that were never installed
        return []
    return [re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
