"""The program `keepwarm`, also as `python -m keepwarm`.

It does nothing but find the command line, which takes a second or two in which somebody may press Ctrl-C.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program."""
    try:
        from keepwarm.cli import app  # noqa: PLC0415 - so that an interruption meanwhile is none of a traceback

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
