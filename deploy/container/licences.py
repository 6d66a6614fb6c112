"""Prints the licence of everything in a CycloneDX bill of materials, one line each; fails where none is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def licence_of(component: dict[str, Any]) -> str:
    """The licences in the component's own words; whole texts are left to the component's files."""
    told = [
        found.get("expression") or found.get("license", {}).get("id") or found.get("license", {}).get("name")
        for found in component.get("licenses", [])
    ]
    return ", ".join(sorted({name for name in told if name and "\n" not in name}))


def main() -> int:
    """Print the list to stdout and what is missing to stderr."""
    components = json.loads(Path(sys.argv[1]).read_text())["components"]
    unknown = 0
    for component in sorted(components, key=lambda component: component["name"].lower()):
        licence = licence_of(component)
        unknown += not licence
        sys.stdout.write(f"{component['name']} {component['version']}: {licence or 'UNKNOWN'}\n")
        if not licence:
            sys.stderr.write(f"{component['name']} tells no licence\n")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
