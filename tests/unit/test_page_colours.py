"""The colours of the page, light and dark: everything that is read stands out from what it stands on."""

import re
from importlib.resources import files

import pytest

SHEET = files("keepwarm.web.page").joinpath("assets", "base.css").read_text()
READ_ON_GROUND = ["text", "muted", "accent", "good", "bad", "held"]
PAIRS = [
    *((name, ground) for name in READ_ON_GROUND for ground in ("ground", "surface", "raised")),
    ("on-accent", "accent"),
    ("good", "good-ground"),
    ("bad", "bad-ground"),
    ("held", "held-ground"),
    ("cold-text", "cold-ground"),
    *(("text", ground) for ground in ("bad-ground", "held-ground", "cold-ground")),
]
DRAWN = [("ping", "busy"), ("bad", "busy"), ("organic", "busy"), ("edge", "surface")]


def themes():
    """The variables of the light theme, of the dark one by the system, and of the dark one by choice."""
    blocks = re.findall(r"color-scheme: (?:light|dark);([^}]*)}", SHEET)
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


def luminance(colour):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark", "dark by choice"])
def test_what_is_read_has_a_contrast_of_four_and_a_half_and_what_is_drawn_of_three(theme):
    assert {pair: found for pair in PAIRS if (found := contrast(*(theme[name] for name in pair))) < 4.5} == {}
    assert {pair: found for pair in DRAWN if (found := contrast(*(theme[name] for name in pair))) < 3} == {}


def test_dark_is_the_same_whether_the_system_or_a_person_chose_it():
    _, by_system, by_choice = themes()
    assert by_system == by_choice
