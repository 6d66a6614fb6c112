"""The shell of the page over a real socket: open to all and empty of data; and the stream that keeps it current."""

import json
import re
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from setuptools import build_meta

from keepwarm.web import Access, Address, Offers, Server, Stream, make_app

TOKEN = "secret"


@contextmanager
def serving(stream=None, token=TOKEN):
    with Server(
        make_app(lambda _: {}, Access(token, hosts=frozenset({"127.0.0.1"})), Offers(stream=stream or Stream())),
        Address("127.0.0.1", 0),
    ) as server:
        yield f"http://{server.address}"


@contextmanager
def asked(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        yield answer


def assets():
    return [file.name for file in files("keepwarm.web.page").joinpath("assets").iterdir()]


@pytest.mark.parametrize(
    "path", ["/", "/prefixes/support-bot", "/favicon.ico", *(f"/assets/{name}" for name in assets())]
)
def test_the_shell_is_served_without_a_token_under_a_policy_that_lets_nothing_foreign_in(path):
    with serving() as url, asked(f"{url}{path}") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert answer.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", "/prefixes/support-bot"])
def test_the_shell_has_no_script_or_style_of_its_own_and_names_only_assets_that_are_there(path):
    with serving() as url, asked(f"{url}{path}") as answer:
        html = answer.read().decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", html)
    assert set(re.findall(r'(?:src|href)="/assets/([^"]+)"', html)) <= set(assets())


def test_no_asset_makes_html_of_data_or_names_another_host():
    for name in assets():
        text = files("keepwarm.web.page").joinpath("assets", name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), name


@pytest.mark.parametrize("path", ["/assets/none.js", "/assets/..%2f__init__.py", "/assets/%2e%2e/__init__.py"])
def test_nothing_but_the_assets_is_served_as_one(path):
    with serving() as url, pytest.raises(urllib.error.HTTPError) as refused, asked(f"{url}{path}"):
        pass
    with refused.value as answer:
        assert answer.code in {401, 404}


def read_event(answer):
    lines = [answer.readline().decode().strip() for _ in range(3)]
    return lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))


def test_the_stream_wants_a_token_and_tells_what_changed():
    stream = Stream()
    with serving(stream) as url:
        with pytest.raises(urllib.error.HTTPError) as refused, asked(f"{url}/v1/stream"):
            pass
        with refused.value as answer:
            assert answer.code == 401
        with asked(f"{url}/v1/stream", Authorization=f"Bearer {TOKEN}") as answer:
            assert read_event(answer)[0] == "opened"
            stream.change(["support-bot"])
            assert read_event(answer) == ("changed", {"prefixes": ["support-bot"]})
            stream.close()
            assert answer.read() == b""


def test_one_page_too_many_is_refused_and_told_when_to_come_again():
    with serving(Stream(most=0), token=None) as url:
        with pytest.raises(urllib.error.HTTPError) as refused, asked(f"{url}/v1/stream"):
            pass
        with refused.value as answer:
            assert (answer.code, answer.headers["Retry-After"]) == (503, "10")


def test_a_wheel_brings_every_asset_and_template(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "keepwarm").symlink_to(root / "keepwarm")
    monkeypatch.chdir(tmp_path)
    wheel = build_meta.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as opened:
        names = set(opened.namelist())
    wanted = [
        file for file in (root / "keepwarm/web/page").rglob("*") if file.suffix in {".html", ".css", ".js", ".svg"}
    ]
    assert len(wanted) > 10
    assert {str(file.relative_to(root)) for file in wanted} <= names
