"""`discover`: which prefixes of a history would be worth keeping warm.

It reads and shows; `keepwarm.discovery` counts and ranks.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from keepwarm import clock, discovery, importing
from keepwarm.cli.app import EXIT_CODES, app, err, out, prefixes, print_json, settings, table, told, usd
from keepwarm.cli.money import moment_since
from keepwarm.discovery import Discovery, Files, Found, LogGroupHistory, Origin, Position, S3History, Tally, ranking
from keepwarm.errors import ConfigError
from keepwarm.model import Ttl
from keepwarm.registry import load_catalog
from keepwarm.settings import Settings, fingerprint_key
from keepwarm.traffic.records import Skip, Skipped, parse_record, read_record

_SAVE_EVERY_SECONDS = 15
_TELL_EVERY_SECONDS = 2
_TELL_PIPES_EVERY_SECONDS = 30
_REQUEST_ID = re.compile(rb'"requestId"\s*:\s*"([^"\\]{1,255})"')


class DiscoverFormat(StrEnum):
    """How a discovery is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@app.command(epilog=EXIT_CODES)
def discover(  # noqa: PLR0913, PLR0917 - one parameter for each option
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Invocation logs: JSON lines, plain or gzip.")
    ] = None,
    log_group: Annotated[str | None, typer.Option(help="CloudWatch log group of the invocation logs.")] = None,
    s3: Annotated[str | None, typer.Option(help="Their place in S3: s3://bucket/prefix.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of either.  [default: AWS_REGION]")] = None,
    since: Annotated[str | None, typer.Option(help="How far back.  [default: 7d; files: all of them]")] = None,
    with_bodies: Annotated[
        bool, typer.Option("--with-bodies", help="Write request files beside the registry: they hold prompts.")
    ] = False,
    state: Annotated[Path | None, typer.Option(help="File to resume from and to remember in.")] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 20,
    output: Annotated[
        DiscoverFormat, typer.Option("--format", help="A table, JSON, or YAML for the registry.")
    ] = DiscoverFormat.TABLE,
) -> None:
    """Rank the prefixes of a history by what keeping them warm would have saved. Nothing is sent to a model.

    Reads model invocation logs, groups requests by the prefix up to their last cache point, and says what each one cost
    and what keepwarm would have cost and saved with each ttl. Prefixes that repeat without a cache point are named too.

    Example: `keepwarm discover --log-group /bedrock/invocations --since 7d`
    """
    with told():
        chosen, now = settings(), clock.utc_now()
        origin, start = _origin(files or [], log_group, s3, region or _ambient_region(), since, now)
        tally = Tally(fingerprint_key(chosen), load_catalog(chosen.models))
        position = Position(origin.history | {"since": since})
        if state:
            position = discovery.load_state(state, position.history, tally)
        _read(origin, position, tally, start, state)
        found = discovery.rank(tally, top)
        written = _write_bodies(origin, found, chosen, fingerprint_key(chosen)) if with_bodies else {}
    if output is DiscoverFormat.JSON:
        print_json(ranking.to_json(found, tally))
    elif output is DiscoverFormat.YAML:
        out.file.write(_yaml(found, written))
    else:
        _print(found, tally)


# -- reading ------------------------------------------------------------------------------------------------------


def _origin(
    files: list[Path], log_group: str | None, s3: str | None, region: str, since: str | None, now: datetime
) -> tuple[Origin, datetime | None]:
    """Where to read, and from when on."""
    if sum((bool(files), log_group is not None, s3 is not None)) != 1:
        raise typer.BadParameter("give FILEs, --log-group or --s3, one of them")
    if files:
        return Files(files), moment_since(since, now) if since else None
    start = moment_since(since or "7d", now)
    if log_group is not None:
        return LogGroupHistory(log_group, region, start, now), start
    return S3History(str(s3), region, start - timedelta(hours=1)), start


def _ambient_region() -> str:
    """The region of the environment; boto3 itself reads only the second variable. Empty: that of the AWS profile."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def _read(origin: Origin, position: Position, tally: Tally, start: datetime | None, state: Path | None) -> None:
    """Count the whole history, and remember on the way how far it came."""
    saved_at = clock.monotonic_seconds()
    place = position.place
    with _progress(tally) as tell:
        for batch in origin.read(place):
            for line in batch.lines:
                count_line(tally, line, start)
            tell(batch.done)
            if batch.place is None:
                continue
            place = batch.place
            if state and clock.monotonic_seconds() - saved_at > _SAVE_EVERY_SECONDS:
                discovery.save_state(state, Position(position.history, place), tally)
                saved_at = clock.monotonic_seconds()
    if state:
        discovery.save_state(state, Position(position.history, place), tally)
    tally.finish()


def count_line(tally: Tally, line: bytes | str | Skip, start: datetime | None) -> None:
    """Count one line of a log, whatever it is; what is before `start` only as skipped."""
    record = Skipped(line) if isinstance(line, Skip) else parse_record(line)
    found = record if isinstance(record, Skipped) else read_record(record, None)
    if isinstance(found, Skipped) and (found.reason is not Skip.NO_CACHE_POINT or found.touch is None):
        tally.skip(found.reason.value)
        return
    marked, touch = (False, found.touch) if isinstance(found, Skipped) else (True, found)
    if touch is None or (start is not None and touch.started_at < start):
        tally.skip(Skip.TOO_OLD.value)
        return
    tally.add(touch, marked=marked)


@contextmanager
def _progress(tally: Tally) -> Iterator[Any]:
    """Tells on stderr how far it is: one line that changes on a terminal, a line now and then elsewhere."""
    begun = told_at = clock.monotonic_seconds()
    before = tally.records
    pause = _TELL_EVERY_SECONDS if err.is_terminal else _TELL_PIPES_EVERY_SECONDS

    def tell(done: float) -> None:
        nonlocal told_at
        now = clock.monotonic_seconds()
        if now - told_at < pause:
            return
        told_at = now
        rate = (tally.records - before) / (now - begun)
        share = f"{done:.0%}, " if done else ""
        text = f"{share}{tally.records:,} records, {rate:,.0f} a second, {prefixes(len(tally.groups))}"
        err.print(text, end="\r" if err.is_terminal else "\n")

    yield tell
    if err.is_terminal and told_at != begun:
        err.print(" " * 79, end="\r")


# -- request files ------------------------------------------------------------------------------------------------


def _write_bodies(origin: Origin, found: Discovery, chosen: Settings, key: bytes) -> dict[str, str]:
    """Read the history again for one request of each prefix, and write it cut behind its last cache point.

    Returns:
        Request files, relative to the registry, by the key of their group.
    """
    wanted = {item.group.example.encode(): item for item in _worth_registering(found)}
    directory = chosen.registry_path.parent
    written: dict[str, str] = {}
    for batch in origin.read(None):
        for line in batch.lines:
            raw = line.encode() if isinstance(line, str) else line
            matching = _REQUEST_ID.search(raw)
            item = wanted.pop(matching[1], None) if matching else None
            name = f"prefixes/{name_of(item)}.json" if item else ""
            if item and _write_body(directory, name, raw, item, key):
                written[item.group.key] = name
        if not wanted:
            break
    err.print(f"wrote {len(written)} request files to {directory / 'prefixes'}, readable by their owner only")
    return written


def _write_body(directory: Path, name: str, raw: Any, item: Found, key: bytes) -> bool:
    """Write one record's request unless its file is there; False, and a word about it, when it cannot be one."""
    try:
        record = json.loads(raw)
        facts = item.facts
        if facts is None:
            return False
        recognised = importing.recognise(record, family=facts.family)
        content = importing.cut_request(name, recognised, item.group.model_id, facts, key).content
    except (ConfigError, importing.NotRecognised) as error:
        err.print(str(error), markup=False)
        return False
    if not (directory / name).exists():
        with importing.Draft(directory / name, content, private=True) as draft:
            importing.publish(draft)
    return True


def _worth_registering(found: Discovery) -> list[Found]:
    """Those that pay with the ttl that production asks for, or would with another."""
    return [item for item in found.found if item.best and item.best.net_usd > 0]


# -- showing ------------------------------------------------------------------------------------------------------


def name_of(item: Found) -> str:
    """A name for a prefix that nobody has named yet: its model and the begin of its digest."""
    base = item.facts.base_id if item.facts else item.group.model_id
    model = re.sub(r"(-\d{8})?(-v\d+(:\d+)?)?$", "", base.rsplit("/", 1)[-1]).split(".")[-1]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model)}-{item.group.key[:6]}"


def _print(found: Discovery, tally: Tally) -> None:
    shown = table("prefix", ">requests", ">gap p50/p90", ">5m net", ">1h net", title="worth keeping warm, per week")
    for item in found.found:
        group, nets = item.group, {outlook.ttl: outlook.net_usd for outlook in item.outlooks}
        shown.add_row(
            f"{name_of(item)} ({group.ttl})",
            f"{group.requests:,}",
            f"{_gap(group.gap_seconds(0.5))}/{_gap(group.gap_seconds(0.9))}",
            usd(nets.get(Ttl.FIVE_MINUTES)),
            usd(nets.get(Ttl.ONE_HOUR)),
        )
    if found.found:
        out.print(shown)
        out.print()
    for item in _worth_registering(found):
        for line in _details(item):
            out.print(line, markup=False)
    for hint in found.unmarked:
        group = hint.group
        out.print(
            f"no cache point: {group.requests:,} requests to {group.model_id} in {group.region} begin with the same "
            f"{group.tokens:,} tokens; one of {hint.ttl.value} after {group.section} would have saved about "
            f"{usd(hint.saved_usd)} a week (request {group.example})",
            markup=False,
        )
    for line in _footnotes(found, tally):
        out.print(line, markup=False)


def _details(item: Found) -> Iterator[str]:
    group = item.group
    about = "" if group.cached_tokens else "about "
    yield (
        f"{name_of(item)}: {about}{group.tokens:,} tokens by {group.api} to {group.model_id} in {group.region}; "
        f"{group.verdicts.get('rewrite', 0):,} cold writes paid, {usd(group.write_usd)} in all"
    )
    for outlook in item.outlooks:
        yield (
            f"  at {outlook.ttl.value}: {outlook.pings:,.0f} pings and {outlook.writes:,.0f} writes for "
            f"{usd(outlook.cost_usd)} would have saved {usd(outlook.saved_usd)}"
        )


def _footnotes(found: Discovery, tally: Tally) -> Iterator[str]:
    days = tally.span / timedelta(days=1)
    counted = sum(group.requests for group in tally.groups.values())
    yield f"{tally.records:,} records, {counted:,} requests of {prefixes(len(tally.groups))} in {days:.1f} days"
    if days < 1:
        yield "less than a day of history: its figures are taken for a whole day, seven of them for a week"
    for reason, count in tally.skipped.most_common():
        yield f"skipped {count:,}: {reason}"
    if tally.dropped:
        yield f"{tally.dropped:,} requests of rare prefixes were let go to bound the memory"
    late = sum(group.late for group in tally.groups.values())
    if late:
        yield f"{late:,} requests were too late to be put in order; they count in no gap"
    if found.others:
        yield f"{found.others:,} more prefixes; --top shows more of those that repeat"
    if found.found:
        yield f"basis: {ranking.BASIS}"


def _gap(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"


def _yaml(found: Discovery, written: dict[str, str]) -> str:
    """A registry of what pays, for somebody to copy from."""
    worth = _worth_registering(found)
    lines = ["# What `keepwarm discover` found worth keeping warm; look at the hours, then run `keepwarm check`."]
    lines += ["version: 1", "", "busy_hours:" if worth else "busy_hours: {}"]
    for item in worth:
        windows = json.dumps(discovery.windows_of(item.group.hours))
        lines += [f"  {name_of(item)}:", "    timezone: UTC", f"    windows: {windows}"]
    lines += ["", "prefixes:" if worth else "prefixes: []"]
    for item in worth:
        lines += _entry(item, written.get(item.group.key))
    return "\n".join(lines) + "\n"


def _entry(item: Found, request: str | None) -> Iterator[str]:
    group, best, marked = item.group, item.best, item.as_marked
    name = name_of(item)
    yield f"  # {group.requests:,} requests, {group.tokens:,} tokens; a week would have left:"
    for outlook in item.outlooks:
        sum_of = f"{usd(outlook.saved_usd)} saved - {usd(outlook.cost_usd)} = {usd(outlook.net_usd)}"
        yield f"  #   {outlook.ttl.value}: {sum_of}"
    if best and marked and best is not marked:
        yield f"  # Better with {best.ttl.value}: mark it so in the application first."
    if request is None:
        yield f"  # Write its request file: keepwarm import FILE (request id {group.example}), or --with-bodies."
    yield f"  - name: {name}"
    yield f"    model_id: {json.dumps(group.model_id)}"
    yield f"    region: {group.region}"
    yield f"    api: {group.api}"
    yield f"    request: {request or f'prefixes/{name}.json'}"
    yield f"    ttl: {group.ttl}"
    yield f"    busy_hours: {name}"
