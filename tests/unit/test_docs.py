"""The documents tell the truth of this commit: every command, setting, key, event and error in them exists."""

import re
from pathlib import Path

import pytest
import typer.main
from pydantic_core import PydanticUndefined

from keepwarm import errors
from keepwarm.cli import app
from keepwarm.model import Reason, Verdict
from keepwarm.registry.schema import PrefixEntry
from keepwarm.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs/reference.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS = typer.main.get_command(app).commands
SOURCES = "\n".join(path.read_text() for path in (ROOT / "keepwarm").rglob("*.py"))


def section(title: str) -> str:
    return re.split(r"^## ", REFERENCE.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def codes(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def first_cells(text: str) -> str:
    return "\n".join(re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE))


def test_the_table_of_settings_is_the_settings():
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", section("Settings"), flags=re.MULTILINE)
    told = {name: (default, meaning) for name, default, meaning in rows}
    real = {}
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (PydanticUndefined, None) else str(field.default)
        real[f"{PREFIX}{name.upper()}"] = (default, field.description)
    assert told == real


def test_every_command_is_in_the_reference_and_no_other():
    assert set(re.findall(r"^\| `keepwarm ([\w-]+)", section("Commands"), flags=re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_on_a_page_exists(page):
    names = "|".join(sorted(COMMANDS, key=len, reverse=True))  # the longest first, as one begins another
    for name, rest in re.findall(rf"keepwarm ({names})\b([^`\n#]*)", page.read_text()):
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<!\S)\[?(--?[a-z][a-z0-9-]*)", rest):
            assert option in known, f"{page.name}: keepwarm {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_on_a_page_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z]+)", page.read_text())) <= targets, page.name


def test_every_key_of_a_prefix_is_in_the_reference():
    told = codes(first_cells(section("Registry")))
    assert told == set(PrefixEntry.model_fields)


def test_every_event_is_in_the_reference_and_no_other():
    told = codes(first_cells(section("Log events")))
    sent = set(re.findall(r'(?:Event|_tell)\(\s*"([a-z_]+)"', SOURCES))
    for first, second in re.findall(r'Event\("([a-z_]+)" if [^"]*? else "([a-z_]+)"', SOURCES):
        sent |= {first, second}
    assert told == sent


def test_every_reason_and_verdict_is_in_the_reference():
    assert {reason.value for reason in Reason} <= codes(section("Log events"))
    assert {verdict.value for verdict in Verdict} <= codes(section("Commands"))


def test_every_error_is_in_the_reference_and_no_other():
    told = codes(first_cells(section("Errors")))
    classes = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KeepwarmError)
    ]
    assert told == {kind.code for kind in classes if kind is not errors.KeepwarmError} | {"uncached"}
    assert len(classes) - 1 <= 8


def test_every_module_has_a_room_in_the_table_of_rooms():
    told = set(
        re.findall(r"`(\w+)/?`", (ROOT / "CONTRIBUTING.md").read_text().split("## Rooms")[1].split("## Habits")[0])
    )
    rooms = {
        path.stem for path in (ROOT / "keepwarm").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "__main__"} <= told
