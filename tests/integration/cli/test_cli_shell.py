"""What a shell is given beside the program: the manual page and completions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm.cli import app
from keepwarm.settings import PREFIX, Settings
from tests.integration.cli.conftest import Shell

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


@pytest.mark.system("man", "groff")
def test_the_manual_page_is_rendered_without_a_warning_and_has_every_command_and_setting(shell: Shell, tmp_path: Path):
    page = tmp_path / "keepwarm.1"
    page.write_text(shell("man-page").stdout)
    plain = os.environ | {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANOPT": ""}
    done = subprocess.run(
        ["man", "--warnings=w", "-l", page], capture_output=True, text=True, check=True, env=plain, timeout=30
    )
    assert done.stderr == ""
    for command in COMMANDS:
        assert f"keepwarm {command}" in done.stdout
    for name in Settings.model_fields:
        assert f"{PREFIX}{name.upper()}" in done.stdout
    assert "`" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"), [("keepwarm ch", "check"), ("keepwarm stop-all --un", "--undo"), ("keepwarm rep", "report")]
)
def test_a_shell_completes_commands_and_options(typed: str, expected: str):
    asked = {"_KEEPWARM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    program = Path(sys.executable).with_name("keepwarm")
    done = subprocess.run([program], capture_output=True, text=True, check=False, env=os.environ | asked, timeout=30)
    assert done.stdout.split() == [expected]


@pytest.mark.system("bash")
def test_the_completions_of_the_shell_that_asks_are_shown():
    program = Path(sys.executable).with_name("keepwarm")
    done = subprocess.run(
        ["bash", "-c", f"'{program}' --show-completion; true"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "complete -o default -F _keepwarm_completion keepwarm" in done.stdout


def test_an_interruption_while_the_program_still_loads_is_no_traceback():
    interrupted = (
        "import sys\n"
        "class Finger:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finger())\n"
        "from keepwarm.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
