"""What is fuzzed: everything of keepwarm that reads what others wrote, as functions of bytes.

Each raises only when a promise is broken: an exception that is no documented error, a round trip that does not hold, a
message that quotes more than a little. They are driven by Hypothesis in `test_fuzz` and by atheris in `drive`; time
and memory are bounded there.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

from keepwarm import busyhours, dialects, fingerprint, pauses, replay, touches
from keepwarm.dialects import DialectError
from keepwarm.discovery.state import load_state
from keepwarm.discovery.tally import Tally
from keepwarm.emulator import eventstream
from keepwarm.errors import ConfigError
from keepwarm.importing.recognising import NotRecognised, parse, recognise
from keepwarm.model import Api, Scope, Source, Ttl
from keepwarm.pricing import parse_model_id
from keepwarm.registry import Files, load_catalog, load_registry
from keepwarm.registry.requests import build_request, check_request, make_ping, with_ttl
from keepwarm.registry.schema import parse_duration
from keepwarm.reporter import delivery
from keepwarm.reporter.passing import MAX_ANSWER_BYTES, Frames
from keepwarm.reporter.usage import usage_of_pieces
from keepwarm.simulate.traces import read_trace
from keepwarm.touches import Matcher, Refused, ReportedTouch
from keepwarm.traffic.aws import fetch_body, read_lines
from keepwarm.traffic.records import MAX_BODY_BYTES, Skip, Skipped, body_path, parse_record, read_record
from keepwarm.views import cursors

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = b"key of the tests"
CATALOG = load_catalog(None)
CLAUDE, NOVA = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "eu.amazon.nova-pro-v1:0"
REGION = "eu-central-1"
FOLDER = Path("/registry")

# A registry and the file `request.json` beside it, in one input.
SEPARATOR = b"\n# request.json\n"
_MOST_QUOTED = 5_000  # two paths at their longest, and words
_MANNERS = ((Api.CONVERSE, CLAUDE), (Api.INVOKE_MODEL, CLAUDE), (Api.INVOKE_MODEL, NOVA), (Api.CONVERSE, NOVA))

Target = Callable[[bytes], None]


class _Drawer(Files):
    """Files that are in memory."""

    def __init__(self, content: dict[str, bytes]) -> None:
        super().__init__()
        self._content = content

    def read(self, path: Path, at_most: int = -1) -> bytes:
        if path.name not in self._content or path.parent != FOLDER:
            raise FileNotFoundError(2, "No such file or directory")
        return self._content[path.name][: None if at_most < 0 else at_most]


class _Page(PurePosixPath):
    """As much of a path as some readers use; its content is in memory."""

    content = b""

    def read_bytes(self) -> bytes:
        return self.content


class _Bucket:
    """As much of boto3's S3 client as the log readers use, with one object."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def get_object(self, **_: str) -> dict[str, io.BytesIO]:
        return {"Body": io.BytesIO(self._content)}


def registry(data: bytes) -> None:
    """A registry with its request file is loaded or refused in words that quote little of it."""
    text, _, request = data.partition(SEPARATOR)
    drawer = _Drawer({"registry.yaml": text, "request.json": request, "prompt.txt": request})
    try:
        found = load_registry(FOLDER / "registry.yaml", CATALOG, KEY, NOW, drawer)
    except ConfigError as error:
        _check_refusal(error)
        return
    assert found.prefixes
    assert [found.find(prefix.name) for prefix in found.prefixes] == list(found.prefixes)
    for prefix in found.prefixes:
        json.dumps(prefix.ping_request, default=_as_text)
        busyhours.next_span(prefix.busy_hours, NOW)


def request(data: bytes) -> None:
    """A request file becomes a ping of the same entry, or is refused in words."""
    body = _json(data[1:])
    if not isinstance(body, dict):
        return
    api, model_id = _MANNERS[data[0] % len(_MANNERS)]
    facts = CATALOG.find(model_id, REGION)
    assert facts
    try:
        found = build_request("request.json", body, api, dialects.dialect_of(api, facts.family), model_id)
    except ConfigError as error:
        _check_refusal(error)
        return
    _check_sketch(fingerprint.sketch(found.reading))
    if check_request(found, facts):
        return
    for asked in (found, *(with_ttl(found, ttl) for ttl in Ttl)):
        try:
            ping = make_ping(asked, facts, KEY)
        except ValueError as error:
            assert len(str(error)) < _MOST_QUOTED  # noqa: PT017 - it is the promise
            continue
        json.dumps(ping.request, default=_as_text)
        replay.production_body(asked.reading, asked.body, facts.min_max_tokens)


def importing(data: bytes) -> None:
    """What `keepwarm import` is given is recognised or not, and what is recognised can be read or refused."""
    try:
        found = recognise(parse(data.decode("utf-8", "replace")))
        dialects.read(found.dialect, found.data)
        parse_model_id(found.model_id)
    except (NotRecognised, DialectError) as error:
        assert len(str(error)) < _MOST_QUOTED  # noqa: PT017 - it is the promise


def records(data: bytes) -> None:
    """A record of an invocation log is a touch that the intake would take too, or a reason."""
    head, _, body = data.partition(SEPARATOR)
    record = parse_record(head)
    if isinstance(record, Skipped):
        return
    body_path(record)
    tally = Tally(KEY, CATALOG)
    for given in (None, body, Skip.BODY_DENIED):
        for now in (NOW, None):
            found = read_record(record, now, given)
            touch = found if isinstance(found, ReportedTouch) else found.touch
            if touch:
                assert touch.sketch
                assert touch.started_at.tzinfo is UTC
                assert now is None or touch.started_at <= now
                _check_sketch(touch.sketch)
                tally.add(touch, marked=touch is found)
    tally.finish()
    json.dumps(tally.dump(), default=str)


def archives(data: bytes) -> None:
    """An object of logs becomes lines and reasons, a body becomes its text or a reason, both of bounded size."""
    bucket = _Bucket(data)
    for line in read_lines(bucket, "bucket", "key"):
        if not isinstance(line, Skip):
            parse_record(line)
    body = fetch_body(bucket, "s3://bucket/key")
    assert isinstance(body, Skip) or len(body) <= MAX_BODY_BYTES


def events(data: bytes) -> None:
    """An event stream is the same however it is cut, and what botocore can read of it is read."""
    if not data:
        return
    size, stream = data[0] + 1, data[1:]
    kept = []
    for step in (max(1, len(stream)), size):
        frames = Frames()
        try:
            for at in range(0, len(stream), step):
                frames.add(stream[at : at + step])
        except ValueError:
            kept.append(None)
            continue
        kept.append(frames.kept())
    assert kept[0] == kept[1]
    usage_of_pieces(kept[0] or ())
    theirs = EventStreamBuffer()
    theirs.add_data(stream)
    try:
        payloads = [event.payload for event in theirs]
    except (ParserError, ValueError, struct.error, UnicodeDecodeError):
        return
    if kept[0] is not None and max(map(len, payloads), default=0) < MAX_ANSWER_BYTES:
        assert [*kept[0]] == [*payloads[:1], *payloads[1:][-4:]]


def frames(data: bytes) -> None:
    """What our encoder writes, botocore's decoder reads."""
    theirs = EventStreamBuffer()
    theirs.add_data(eventstream.event("chunk", data) + eventstream.event("chunk", data[::-1]))
    assert [event.payload for event in theirs] == [data, data[::-1]]
    assert zlib.crc32(eventstream.event("chunk", data)[:8]).to_bytes(4) == eventstream.event("chunk", data)[8:12]


def intake(data: bytes) -> None:
    """What is posted as a touch or a closing is taken or refused without being quoted, and what is taken is matched."""
    raw = _json(data)
    for found in (touches.parse(raw, NOW, Source.HTTP), touches.parse_closing(raw, NOW)):
        if isinstance(found, Refused):
            assert len(found.message) < _MOST_QUOTED
            assert found.request_id.isprintable()
        elif isinstance(found, ReportedTouch):
            assert NOW - touches.MAX_AGE <= found.started_at <= NOW
            assert found.request_id.isprintable()
            assert _MATCHER.match(found)
            if found.sketch:
                _check_sketch(found.sketch)
        else:
            assert found[0] <= NOW
            assert found[1].isprintable()


def catalog(data: bytes) -> None:
    """A model catalog is read whole or refused with the place that is wrong."""
    drawer = _Drawer({"models.json": data})
    try:
        found = load_catalog(FOLDER / "models.json", drawer)
    except ConfigError as error:
        _check_refusal(error)
        return
    assert found.models.keys() >= CATALOG.models.keys()


def answers(data: bytes) -> None:
    """What answers a reporter on the daemon's port is a receipt, a ttl, or no daemon."""
    receipt = delivery._read(data)  # noqa: SLF001 - over a socket it would be a hundred times slower
    assert all(len(reason) <= 64 for reason in receipt.refused)
    told = delivery._read_ttl(data)  # noqa: SLF001
    if isinstance(told, delivery.ToldTtl):
        assert 1 <= told.max_age_seconds <= 3_600
        assert Ttl(told.ttl)


def traces(data: bytes) -> None:
    """A trace of arrivals is in order, or refused with the lines that are wrong."""
    page = _Page("trace.csv")
    page.content = data
    try:
        found = read_trace(page)
    except ConfigError as error:
        _check_refusal(error)
        return
    assert found.arrivals
    assert list(found.arrivals) == sorted(found.arrivals, key=lambda each: each.at)


def state(data: bytes) -> None:
    """A state of `discover` is taken up and can be written again, or refused."""
    page = _Page("state.json")
    page.content = data
    tally = Tally(KEY, CATALOG)
    try:
        load_state(page, {}, tally)
    except ConfigError as error:
        _check_refusal(error)
        return
    json.dumps(tally.dump())


def words(data: bytes) -> None:
    """Windows, dates, holidays, durations, moments, cursors and model ids are understood or refused in words."""
    text = data.decode("utf-8", "replace")
    for read in _READERS:
        try:
            read(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - it is the promise
    said = {"why": text, "by": text}
    for lasting in ({"for": text}, {"until": text}):
        try:
            order = pauses.order_of(Scope.ALL, "", {**said, **lasting}, (), NOW)
        except pauses.BadOrder:
            continue
        assert order.until is None or NOW < order.until <= NOW + timedelta(days=366)
        assert order.why.isprintable()
    parse_model_id(text)


_ALL: tuple[Target, ...] = (
    registry, request, catalog, importing, answers, traces, state, records, archives, events, frames, intake, words,
)  # fmt: skip
TARGETS = {target.__name__: target for target in _ALL}


def _read_cursor(text: str) -> None:
    place = cursors.read("ledger", text, (str, int))
    assert cursors.read("ledger", cursors.write("ledger", *place), (str, int)) == place


_READERS: tuple[Callable[[str], object], ...] = (
    busyhours.parse_window, busyhours.parse_closed, busyhours.check_holidays, parse_duration,
    _read_cursor,
)  # fmt: skip


def _check_refusal(error: ConfigError) -> None:
    assert error.problems
    for problem in error.problems:
        told = str(problem)
        assert told.isprintable(), "a message that could forge a line of a log or move the cursor of a terminal"
        assert len(told) < _MOST_QUOTED, "a message that may quote a prompt"
        told.encode()


def _check_sketch(drawn: fingerprint.Sketch) -> None:
    if len(drawn.blocks) <= fingerprint.MAX_BLOCKS and all(part.name.isidentifier() for part in drawn.settings):
        assert fingerprint.sketch_from_json(json.loads(json.dumps(fingerprint.sketch_to_json(drawn)))) == drawn


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _as_text(value: Any) -> str:
    assert isinstance(value, bytes)
    return value.decode("latin-1")


def _matcher() -> Matcher:
    text = b'version: 1\nprefixes: [{name: a, model_id: "%s", region: %s, api: converse, busy_hours: always, '
    text = text % (CLAUDE.encode(), REGION.encode()) + b"min_tokens: 1, system: {text: x}}]"
    return Matcher(load_registry(FOLDER / "r.yaml", CATALOG, KEY, NOW, _Drawer({"r.yaml": text})).prefixes, KEY)


_MATCHER = _matcher()
