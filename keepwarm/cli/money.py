"""`plan`, `ping` and `report`: what comes, one now, and what was.

They price and sum nothing themselves.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from keepwarm import accounting, blind, clock, simulate
from keepwarm.cli.app import (
    EXIT_CODES,
    EXIT_FAILED,
    Format,
    FormatOption,
    app,
    err,
    out,
    print_json,
    progress,
    settings,
    table,
    told,
    usd,
)
from keepwarm.counterfactual import Traffic
from keepwarm.model import Decision, Entry, Reason, Verdict
from keepwarm.parts import Parts, make_report, opened

_AGO = re.compile(r"^(\d+)\s*([mhdw])$")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_TIMELINE_PARTS = 24
# Nobody plans or reports outside these years, and calendars end not far from them.
_YEARS = range(2000, 3000)
_SUCCESS = {Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE}


class ReportFormat(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command(epilog=EXIT_CODES)
def plan(
    since: Annotated[str, typer.Option("--from", help="Start, ISO 8601; without a zone it is UTC. Default: now.")] = "",
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How far to look.")] = 24,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the coming pings and their cost, for each prefix and in total. Offline: nothing is sent.

    What the ledger knows to be warm counts as warm; every planned ping is taken to succeed. While a prefix is paused
    none is planned; a stop of all is told, and left out of account.

    Example: `keepwarm plan --from 2026-11-23T06:00Z --hours 12`
    """
    with told():
        start = _moment(since, "--from") if since else clock.utc_now()
        end = start + timedelta(hours=hours)
        with opened(settings()) as parts:
            plans = _plans(parts, start, end)
            rates = _rates(parts, start)
            stopped = parts.switch.reason()
    if output is Format.JSON:
        print_json(_plan_json(plans, rates, start, end) | {"stopped": stopped or None})
        return
    _print_plans(plans, rates, start, end)
    if stopped:
        out.print(f"nothing of this is sent as long as all pings are stopped: {stopped}", markup=False)


@app.command(epilog=EXIT_CODES)
def ping(
    name: Annotated[str, typer.Argument(help="A prefix of the registry.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Send one ping of one prefix now, whatever the hour, and show its verdict and cost.

    It is written to the ledger like any other, so a running daemon learns of it; a success also ends a stop.

    Example: `keepwarm ping support-bot`
    """
    with told(), opened(settings()) as parts:
        prefix = parts.registry.find(name)
        with err.status(f"waiting for {escape(prefix.model_id)}"):
            entry = parts.keeper.ping(name)
    if output is Format.JSON:
        print_json(_entry_json(entry))
    else:
        _print_entry(entry)
    if entry.verdict is Verdict.UNCACHED:
        minimum = f"{prefix.facts.base_id} caches from {prefix.facts.min_tokens:,} tokens on"
        err.print(f"uncached: nothing was read or written; {minimum}", markup=False)
    if entry.verdict not in _SUCCESS:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog=EXIT_CODES)
def report(
    since: Annotated[
        str, typer.Option("--since", help="How far back (90m, 24h, 7d, 4w), or an ISO 8601 moment.")
    ] = "24h",
    output: Annotated[ReportFormat, typer.Option("--format", help="Table, JSON or CSV.")] = ReportFormat.TABLE,
) -> None:
    """Show what the pings cost and what they can have saved, for each prefix and in total.

    Example: `keepwarm report --since 7d --format json`
    """
    with told():
        until = clock.utc_now()
        start = moment_since(since, until)
        with opened(settings()) as parts, err.status("adding up"):
            found = make_report(parts, start, until)
        if found.since < start:
            kept = f"whole days from {_iso(found.since)} on: single pings of then are deleted (KEEPWARM_RETENTION)"
            err.print(kept, markup=False)
    if output is ReportFormat.JSON:
        print_json(accounting.to_json(found))
    elif output is ReportFormat.CSV:
        sys.stdout.write(_report_csv(found))
    else:
        print_report(found)


# -- plan ---------------------------------------------------------------------------------------------------------


def _plans(parts: Parts, start: datetime, end: datetime) -> list[simulate.Plan]:
    prefixes, keeper = parts.registry.prefixes, parts.keeper
    with progress("planning", len(prefixes)) as step:
        found = []
        for prefix in prefixes:
            found.append(simulate.plan(prefix, keeper.state(prefix.name), start, end, parts.pausing.holding))
            step()
    return found


def _rates(parts: Parts, start: datetime) -> dict[str, tuple[blind.BreakEven | None, bool]]:
    """From which traffic on each prefix pays, and whether nobody tells of its traffic."""
    states = {prefix: parts.keeper.state(prefix.name) for prefix in parts.registry.prefixes}
    followed = parts.settings.follows_logs
    return {
        prefix.name: (blind.break_even_of(prefix, state, start), blind.is_blind(prefix, state, followed=followed))
        for prefix, state in states.items()
    }


def _print_plans(
    plans: list[simulate.Plan],
    rates: dict[str, tuple[blind.BreakEven | None, bool]],
    start: datetime,
    end: datetime,
) -> None:
    sent = table("prefix", "timeline", ">pings", ">writes", ">cost", title=f"{_say(start)} to {_say(end)}")
    why = table("prefix", "at the start", ">pays from", ">or at random from")
    for found in plans:
        name = escape(found.prefix) + (" *" if found.estimated else "")
        writes = sum(ping.verdict is Verdict.REWRITE for ping in found.pings)
        line = timeline([ping.at for ping in found.pings], start, end)
        sent.add_row(name, line, f"{len(found.pings):,}", f"{writes:,}", usd(found.cost_usd))
        pays = found.break_even_requests_per_day
        rate, _ = rates[found.prefix]
        why.add_row(
            name,
            _reason(found.decision),
            f"{pays:,}/day" if pays is not None else "-",
            blind.say_rate(rate.per_hour) if rate else "-",
        )
    total = sum((found.cost_usd for found in plans), Decimal(0))
    sent.add_section()
    sent.add_row("total", "", f"{sum(len(found.pings) for found in plans):,}", "", usd(total))
    out.print(sent)
    out.print(f"timeline: {_TIMELINE_PARTS} equal parts; . no ping, digits pings, + more than 9.\n")
    out.print(why)
    out.print("pays from: requests in a busy day, well spaced, or in a busy hour, at random.")
    for name, (rate, unheard) in rates.items():
        if rate and unheard and rate.warning:
            out.print(f"warning: {name}: {rate.warning}", markup=False)
    if any(found.estimated for found in plans):
        out.print("* never measured: tokens and cost are estimates, about 4 characters a token.")


def _reason(decision: Decision) -> str:
    reason = decision.reason.value
    until = f" until {_say(decision.at)}" if decision.reason is Reason.PAUSED and decision.at else ""
    return f"{reason}{until}"


def timeline(moments: Iterable[datetime], start: datetime, end: datetime, parts: int = _TIMELINE_PARTS) -> str:
    """How many moments fall into each equal part of a stretch, one character a part."""
    counts = [0] * parts
    for moment in moments:
        counts[min(parts - 1, int((moment - start) / (end - start) * parts))] += 1
    return "".join("." if not count else str(count) if count < 10 else "+" for count in counts)


def _rate_json(rate: blind.BreakEven | None, *, unheard: bool) -> dict[str, Any]:
    return {
        "break_even_requests_per_hour": {
            "configuration": rate and rate.per_hour,
            "ping": rate and rate.ping_per_hour,
        },
        "silent_busy_day_usd": f"{rate.silent_day_usd:f}" if rate else None,
        "traffic_told": not unheard,
        "warning": rate.warning if rate and unheard else "",
    }


def _plan_json(
    plans: list[simulate.Plan],
    rates: dict[str, tuple[blind.BreakEven | None, bool]],
    start: datetime,
    end: datetime,
) -> dict[str, Any]:
    return {
        "from": _iso(start),
        "until": _iso(end),
        "prefixes": [
            {
                "name": found.prefix,
                "now": {"action": found.decision.action.value, "reason": found.decision.reason.value},
                "estimated": found.estimated,
                "pings": [
                    {
                        "at": _iso(ping.at),
                        "reason": ping.reason.value,
                        "verdict": ping.verdict.value,
                        "cost_usd": f"{ping.cost_usd:f}",
                    }
                    for ping in found.pings
                ],
                "cost_usd": f"{found.cost_usd:f}",
                "break_even_requests_per_day": found.break_even_requests_per_day,
            }
            | _rate_json(rates[found.prefix][0], unheard=rates[found.prefix][1])
            for found in plans
        ],
        "total": {
            "pings": sum(len(found.pings) for found in plans),
            "cost_usd": f"{sum((found.cost_usd for found in plans), Decimal(0)):f}",
        },
    }


# -- ping ---------------------------------------------------------------------------------------------------------


def _print_entry(entry: Entry) -> None:
    outcome, usage = entry.outcome, entry.outcome.usage if entry.outcome else None
    out.print(
        f"{entry.intent.prefix}: {entry.verdict.value}, {usd(entry.cost_usd)}, entry {entry.number}", markup=False
    )
    if usage:
        out.print(
            f"tokens: {usage.cache_read_tokens:,} read, {usage.cache_write_tokens:,} written, "
            f"{usage.input_tokens:,} uncached, {usage.output_tokens:,} out"
        )
    if outcome:
        server = f", {outcome.server_latency_ms} ms of it at Bedrock" if outcome.server_latency_ms is not None else ""
        out.print(f"latency: {outcome.latency_ms} ms{server}")
    if outcome and outcome.error_code:
        err.print(f"{outcome.error_code}: {outcome.error_message}", markup=False)
        if outcome.error_hint:
            err.print(f"hint: {outcome.error_hint}", markup=False)


def _entry_json(entry: Entry) -> dict[str, Any]:
    outcome, usage = entry.outcome, entry.outcome.usage if entry.outcome else None
    found: dict[str, Any] = {
        "entry": entry.number,
        "prefix": entry.intent.prefix,
        "verdict": entry.verdict.value,
        "cost_usd": f"{entry.cost_usd:f}",
        "started_at": _iso(entry.intent.started_at),
    }
    if usage:
        found["tokens"] = {
            "read": usage.cache_read_tokens,
            "written": usage.cache_write_tokens,
            "input": usage.input_tokens,
            "output": usage.output_tokens,
        }
    if outcome:
        found |= {"latency_ms": outcome.latency_ms, "server_latency_ms": outcome.server_latency_ms}
    if outcome and outcome.error_code:
        found["error"] = {"code": outcome.error_code, "message": outcome.error_message, "hint": outcome.error_hint}
    return found


# -- report -------------------------------------------------------------------------------------------------------


def print_report(found: accounting.Report, *, break_even: bool = True) -> None:
    """The report as tables: money, pings, warmth, and where touches were told, traffic and its worth.

    Args:
        break_even: whether to show from how many requests a day each prefix pays.
    """
    money = table(
        "prefix", ">refresh cost", ">avoided write", ">net", title=f"{_say(found.since)} to {_say(found.until)}"
    )
    met = [verdict for verdict, count in found.total.pings.items() if count]
    pings = table("prefix", *(f">{verdict.value}" for verdict in met))
    pays = [">pays from"] if break_even else []
    warmth = table("prefix", ">busy time warm", ">warm p50/p95 ms", ">cold p50/p95 ms", *pays)
    tables = (money, pings, warmth)
    for account in (*found.prefixes, found.total):
        if not account.name:
            for each in tables:
                each.add_section()
        name = escape(account.name) or "total"
        money.add_row(name, usd(account.refresh_cost_usd), _range(account.avoided_write_usd), _range(account.net_usd))
        pings.add_row(name, *(f"{account.pings[verdict]:,}" for verdict in met))
        warmth.add_row(name, *_warmth(account)[: 3 + len(pays)])
    out.print(money)
    out.print(f"avoided write and net are bounds; {found.total.basis}.\n")
    if met:
        out.print(pings)
        out.print()
    out.print(warmth)
    _print_traffic([account for account in (*found.prefixes, found.total) if account.traffic])
    for account in found.prefixes:
        if account.capacity_freed_tokens:
            low, high = account.capacity_freed_tokens
            freed = f"provisioned throughput; {low:,} to {high:,} tokens of capacity freed"
            out.print(f"{account.name}: {freed}", markup=False)


def _print_traffic(told: Sequence[accounting.Account]) -> None:
    """What organic requests told; `else cold` would have been cold without our pings."""
    if not told:
        return
    traffic = table("prefix", ">organic", ">warm", ">cold", ">else cold", ">avoided", ">missed", ">wasted pings")
    worth = table("prefix", ">waiting saved", ">wasted", ">regret")
    for account in told:
        figures = account.traffic or Traffic()
        if not account.name:
            traffic.add_section()
            worth.add_section()
        name = escape(account.name) or "total"
        counts = (figures.requests, figures.warm, figures.cold, figures.would_have_been_cold)
        avoided = f"{figures.avoided_low:,} to {figures.avoided_high:,}"
        traffic.add_row(name, *(f"{count:,}" for count in counts), avoided, f"{figures.misses:,}",
                        f"{figures.wasted_pings:,}")  # fmt: skip
        seconds = figures.waiting_saved_seconds
        priced = account.refresh_cost_usd is not None
        worth.add_row(
            name,
            f"{seconds[0]:,.1f} to {seconds[1]:,.1f} s" if seconds else "-",
            usd(figures.wasted_usd if priced else None),
            usd(figures.regret_usd if priced else None),
        )
    for each in (traffic, worth):
        out.print()
        out.print(each)


def _warmth(account: accounting.Account) -> tuple[str, str, str, str]:
    share, pays = account.warm_share_of_busy_time, account.break_even_requests_per_day
    warm, cold = account.latency_warm_ms, account.latency_cold_ms
    return (
        "-" if share is None else f"{share:.1%}",
        f"{_ms(warm.p50)}/{_ms(warm.p95)}",
        f"{_ms(cold.p50)}/{_ms(cold.p95)}",
        "-" if pays is None else f"{pays:,}/day",
    )


def _report_csv(found: accounting.Report) -> str:
    text = io.StringIO()
    rows = [_flat(row) for row in [*_rows(found), {"name": "total"} | dict(_total(found))]]
    names = list(dict.fromkeys(name for row in reversed(rows) for name in row))
    # What is null as a whole in one row has parts in another, such as the money of provisioned throughput.
    parts = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    writer = csv.DictWriter(text, fieldnames=parts, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(found: accounting.Report) -> list[dict[str, Any]]:
    rows: Any = accounting.to_json(found)["prefixes"]
    return list(rows)


def _total(found: accounting.Report) -> dict[str, Any]:
    total: Any = accounting.to_json(found)["total"]
    return dict(total)


def _flat(row: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested values under dotted names, one column each."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


def _range(bounds: accounting.Bounds | None) -> str:
    if bounds is None:
        return "-"
    return usd(bounds.low) if bounds.low == bounds.high else f"{usd(bounds.low)} to {usd(bounds.high)}"


def _ms(value: int | None) -> str:
    return "-" if value is None else str(value)


# -- moments ------------------------------------------------------------------------------------------------------


def moment_since(text: str, now: datetime) -> datetime:
    """The moment that `--since` means: so long ago, or ISO 8601."""
    found = _AGO.match(text.strip())
    try:
        start = now - int(found[1]) * _UNITS[found[2]] if found else _moment(text, "--since")
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long ago", param_hint="--since") from None
    if start >= now:
        raise typer.BadParameter(f"{text!r} is not in the past", param_hint="--since")
    return start


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        ago = "24h, 7d, or " if option == "--since" else ""
        message = f"{text!r} is not a moment; write for example {ago}2026-11-23T06:00Z"
        raise typer.BadParameter(message, param_hint=option) from None
    if moment.year not in _YEARS:
        message = f"{text!r} is not between the years {_YEARS.start} and {_YEARS.stop - 1}"
        raise typer.BadParameter(message, param_hint=option)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
