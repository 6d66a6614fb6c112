"""`track`: what identical requests, one after the other, tell of a model's prompt cache.

It measures through the daemon's own parts and analyses nothing; `keepwarm.tracker` does.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from keepwarm import clock, tracker
from keepwarm.cli.app import (
    EXIT_CODES,
    EXIT_FAILED,
    EXIT_INPUT,
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
from keepwarm.errors import ConfigError, CredentialsRejected, LedgerError, Problem
from keepwarm.model import Answer, Api, Entry, Prefix, Ttl, Verdict
from keepwarm.parts import Parts, opened, read_registry
from keepwarm.pricing import Catalog
from keepwarm.registry import SYNTHETIC_NAME, Registry, load_catalog, synthetic_prefix
from keepwarm.settings import Settings, fingerprint_key
from keepwarm.tracker import Finding, Money, Sample, TrackReport, Witness

_Read = Callable[[Settings, datetime], tuple[Registry, Catalog]]

_ASK_ABOVE_USD = Decimal(1)
_CHART_CELLS = 9
_EIGHTHS = " ▏▎▍▌▋▊▉"

_COUNT_IN = {
    Witness.BODY: "body",
    Witness.HEADERS: "headers",
    Witness.BOTH: "both",
    Witness.NEITHER: "neither",
    Witness.NO_ANSWER: "-",
}


@dataclass(slots=True)
class _Measured:
    """What was sent so far, and what ended it before its time."""

    sent: list[tuple[Entry, Answer | None]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    ended_by: LedgerError | KeyboardInterrupt | None = None

    def add(self, entry: Entry) -> None:
        """Put an entry together with the answer that was heard for it, if there was one."""
        self.sent.append((entry, self.answers.pop() if self.answers else None))


@app.command(epilog=EXIT_CODES)
def track(  # noqa: PLR0913, PLR0917 - one parameter for each option
    name: Annotated[str | None, typer.Argument(help="A prefix of the registry; or give --model-id.")] = None,
    model_id: Annotated[str | None, typer.Option(help="Track this model with a made-up prefix instead.")] = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="About how many tokens the made-up prefix has.  [default: 5000]"),
    ] = None,
    requests: Annotated[int, typer.Option("--requests", "-n", min=1, max=1000, help="How many to send.")] = 10,
    api: Annotated[Api | None, typer.Option(help="API of the made-up prefix.  [default: converse]")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the made-up prefix.  [default: AWS_REGION]")] = None,
    ttl: Annotated[Ttl | None, typer.Option(help="Lifetime that the made-up prefix asks for.  [default: 5m]")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Make up the same prefix each time; without it, a new one that is surely cold.")
    ] = None,
    pause: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds between two requests.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, also when it may cost over $1.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send identical requests one after the other and show what the cache did: counts, latency, money.

    Request 1 of a made-up prefix is cold, the others should read what it wrote. On AWS this costs money: what at most
    is said before anything is sent. Every request is written to the ledger.

    Example: `keepwarm track --model-id us.anthropic.claude-haiku-4-5-20251001-v1:0 --region us-east-1 -n 5`
    """
    made_up = {"--tokens": tokens, "--api": api, "--region": region, "--ttl": ttl, "--seed": seed}
    measured = _Measured()
    with told():
        _check_choice(name, model_id, [option for option, value in made_up.items() if value is not None])
        read: _Read = read_registry
        if model_id is not None:
            read = _made_up(model_id, tokens or 5000, api or Api.CONVERSE, region or _region(), ttl, seed)
        with opened(settings(), read=read, hear=measured.answers.append) as parts:
            prefix = parts.registry.find(name or SYNTHETIC_NAME)
            _announce(parts, prefix, requests, agreed=yes)
            _measure(parts, prefix, requests, timedelta(seconds=pause), measured)
        report = tracker.make_report(prefix, measured.sent, requests)
        if output is Format.JSON:
            print_json(tracker.to_json(report))
        else:
            _print(report)
        if isinstance(measured.ended_by, LedgerError):
            raise measured.ended_by
    if isinstance(measured.ended_by, KeyboardInterrupt) or not report.answered:
        raise typer.Exit(EXIT_FAILED)


# -- before -------------------------------------------------------------------------------------------------------


def _check_choice(name: str | None, model_id: str | None, made_up: list[str]) -> None:
    if (name is None) == (model_id is None):
        both = "not both" if name else "for example `keepwarm track support-bot`; `keepwarm check` lists the names"
        raise typer.BadParameter(f"give the NAME of a prefix or --model-id, {both}")
    if name is not None and made_up:
        raise typer.BadParameter(f"{', '.join(made_up)}: only with --model-id; the registry says it of {name}")


def _region() -> str:
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not found:
        raise ConfigError([Problem("--region", 0, "", "is missing; give it, or set AWS_REGION")])
    return found


def _made_up(model_id: str, tokens: int, api: Api, region: str, ttl: Ttl | None, seed: int | None) -> _Read:
    """What stands in for reading the registry: one made-up prefix."""

    def read(chosen: Settings, _now: datetime) -> tuple[Registry, Catalog]:
        catalog = load_catalog(chosen.models)
        prefix = synthetic_prefix(
            model_id=model_id,
            region=region,
            api=api,
            ttl=ttl or Ttl.FIVE_MINUTES,
            tokens=tokens,
            salt=secrets.token_hex(16) if seed is None else f"seed {seed}",
            catalog=catalog,
            key=fingerprint_key(chosen),
        )
        return Registry(Path(chosen.registry), (prefix,)), catalog

    return read


def _announce(parts: Parts, prefix: Prefix, requests: int, *, agreed: bool) -> None:
    """Say what it may cost, and ask where that is much."""
    state = parts.keeper.state(prefix.name)
    at_most = tracker.at_most_usd(prefix, state, requests)
    tokens = state.cached_tokens or prefix.estimated_tokens
    expected = f"about {usd(tracker.expected_usd(prefix, state, requests))} if the cache works"
    if tokens < prefix.facts.min_tokens:
        expected = f"probably not cached, since the model caches from {prefix.facts.min_tokens:,} tokens on"
    err.print(
        f"at most {usd(at_most)} for {_count(requests, 'request')} of about {tokens:,} tokens to {prefix.model_id} in "
        f"{prefix.route.region}; {expected}",
        markup=False,
    )
    if at_most <= _ASK_ABOVE_USD or agreed:
        return
    if not sys.stdin.isatty():
        err.print(f"that may cost over ${_ASK_ABOVE_USD}, and nobody is there to ask: add --yes, or send fewer")
        raise typer.Exit(EXIT_INPUT)
    err.print("Send them? [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        err.print("nothing was sent")
        raise typer.Exit(EXIT_FAILED)


# -- sending ------------------------------------------------------------------------------------------------------


def _measure(parts: Parts, prefix: Prefix, requests: int, pause: timedelta, measured: _Measured) -> None:
    """Send until all are sent, or something says that going on is of no use."""
    parts.gateway.prepare(prefix)
    with progress("requests", requests) as step:
        try:
            for number in range(requests):
                if number:
                    clock.sleep(pause)
                measured.add(parts.keeper.ping(prefix.name))
                step()
                if _is_permanent(measured.sent):
                    return
        except (LedgerError, KeyboardInterrupt) as error:
            measured.ended_by = error


def _is_permanent(sent: list[tuple[Entry, Answer | None]]) -> bool:
    """Whether the next request would fail like the last; after rejected credentials fresh ones get one chance."""
    outcomes = [entry.outcome for entry, _ in sent[-2:]]
    last = outcomes[-1]
    if last is None or not last.error_code:
        return False
    codes = [outcome.error_code for outcome in outcomes if outcome]
    return not last.retryable or codes == [CredentialsRejected.code] * 2


# -- showing ------------------------------------------------------------------------------------------------------


def _print(report: TrackReport) -> None:
    rows = table("#", "verdict", "count in", ">input", ">read", ">written", ">client ms", ">server ms", "client")
    longest = max((sample.latency_ms for sample in report.samples), default=0)
    for sample in report.samples:
        rows.add_row(*_row(sample, longest))
    out.print(rows)
    out.print()
    for line in _warnings(report):
        out.print(line, markup=False)
    _print_speed(report)
    for line in _money_words(report):
        out.print(line, markup=False)


def _row(sample: Sample, longest_ms: int) -> tuple[str, ...]:
    usage = sample.usage
    counts = (
        (f"{usage.input_tokens:,}", f"{usage.cache_read_tokens:,}", f"{usage.cache_write_tokens:,}")
        if usage
        else ("-", "-", "-")
    )
    server = "-" if sample.server_latency_ms is None else f"{sample.server_latency_ms:,}"
    bar = chart(sample.latency_ms, longest_ms) if usage else ""
    return (
        str(sample.number),
        sample.verdict.value,
        _COUNT_IN[sample.told_in],
        *counts,
        f"{sample.latency_ms:,}",
        server,
        bar,
    )


def chart(value: int, longest: int, cells: int = _CHART_CELLS) -> str:
    """A bar of at most `cells` characters, in eighths of one where the output can show them."""
    eighths = round(value / longest * cells * 8) if longest > 0 else 0
    if not out.encoding.lower().startswith("utf"):
        return "#" * round(eighths / 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _warnings(report: TrackReport) -> Iterator[str]:
    """What must be known to read the figures right; every finding has its words here."""
    failed = len(report.samples) - len(report.answered)
    size = max((sample.usage.prompt_tokens for sample in report.answered if sample.usage), default=0)
    words = {
        Finding.ALL_FAILED: "Every request failed or told no token counts; there is nothing to measure.",
        Finding.SOME_FAILED: f"{failed} of {len(report.samples)} requests failed; what follows leaves them out.",
        Finding.ENDED_EARLY: f"Ended after {len(report.samples)} of {report.wanted} requests.",
        Finding.SINGLE_REQUEST: "One request alone compares with nothing: use -n 2 or more.",
        Finding.FIRST_FAILED: "Request 1 failed, so it cannot be compared with request 2.",
        Finding.FIRST_WARM: "Request 1 was warm already: an earlier request had written the entry. What follows "
        "compares warm with warm; for a cold start wait until the entry is dead, or use --model-id without --seed.",
        Finding.FIRST_PARTLY_WARM: "Request 1 was partly warm: a shorter entry was alive, so it is no full cold start.",
        Finding.FIRST_UNCACHED: "Request 1 was not cached at all, later ones were: the cache came and went.",
        Finding.BELOW_MINIMUM: f"Nothing was cached: the prompt has {size:,} tokens, and this model caches from "
        f"{report.min_tokens:,} on.",
        Finding.NOT_CACHED: f"Nothing was cached, though the prompt's {size:,} tokens are more than the model's "
        f"minimum of {report.min_tokens:,}: it or its region may not support caching.",
        Finding.LATER_NOT_WARM: "Not every later request found the entry: " + _later(report) + ". Several regions "
        "behind one inference profile, or a pause longer than the entry lives, do this.",
        Finding.COUNTS_DIFFER: "Body and headers disagree on the counts; the body's are shown.",
        Finding.TTL_DIFFERS: f"An entry of {report.ttl.value} was asked for, and one of {report.billed_ttl} billed.",
        Finding.PRICE_ASSUMED: "No write price is published for this model; the input price stands in for it.",
        Finding.PROVISIONED: "Provisioned throughput is not billed by the token; dollars are on-demand list prices.",
    }
    yield from (words[finding] for finding in report.findings)
    yield from _errors(report)
    if report.findings and report.answered:
        yield ""


def _errors(report: TrackReport) -> Iterator[str]:
    """Each different error once, with the requests that met it and what to do."""
    met: dict[tuple[str, str, str], list[str]] = {}
    for sample in report.samples:
        if sample.error_code:
            error = (sample.error_code, sample.error_message, sample.error_hint)
            met.setdefault(error, []).append(str(sample.number))
    for (code, message, hint), numbers in met.items():
        yield f"Request {', '.join(numbers)}: {code}: {message}"
        if hint:
            yield f"hint: {hint}"


def _later(report: TrackReport) -> str:
    later = report.answered[1:]
    return f"{sum(sample.verdict is not Verdict.HIT for sample in later)} of {len(later)} did not"


def _print_speed(report: TrackReport) -> None:
    second = report.client.second
    if second is None or second.gain is None:
        return
    verb = "slower" if second.gain > 0 else "not slower"
    out.print(f"Request 1 was {verb} than request 2: cache speed ROI, (t1 - t2) / t1, is {second.gain:.1%}.")
    rows = table("t1 against", ">t1, ms", ">other, ms", ">ROI")
    rest = f"median of 2 to {report.samples[-1].number}"
    for by, speed in (("client", report.client), ("server", report.server)):
        for other, found in (("request 2", speed.second), (rest, speed.rest if len(report.answered) > 2 else None)):
            if found and found.gain is not None:
                rows.add_row(f"{other}, {by}", f"{found.first_ms:,}", f"{found.other_ms:,.0f}", f"{found.gain:.1%}")
    out.print(rows)
    if report.warm_saves_ms is not None:
        verb = "saves" if report.warm_saves_ms >= 0 else "costs"
        out.print(f"A warm request in place of a cold one {verb} {abs(report.warm_saves_ms):,.0f} ms.")
    out.print()


def _money_words(report: TrackReport) -> Iterator[str]:
    money = report.money
    if not report.answered:
        if money.cost_usd:
            yield f"Money: {usd(money.cost_usd)} at most, for requests that may have been billed."
        return
    saved = money.saved_usd
    did = f"saved {usd(saved)}" if saved > 0 else f"cost {usd(-saved)} more" if saved < 0 else "changed nothing"
    yield (
        f"Money: {_count(len(report.answered), 'request')} cost {usd(money.measured_usd)}, and without the cache "
        f"{usd(money.without_cache_usd)}: the cache {did}."
    )
    if money.cost_usd != money.measured_usd:
        yield f"Requests without an answer may have been billed: {usd(money.cost_usd)} in all at most."
    yield from _entry_words(report, money)


def _entry_words(report: TrackReport, money: Money) -> Iterator[str]:
    """What the cache entry is worth, whatever these few requests did."""
    if money.warm_saves_usd is None:
        return
    ttl = (report.billed_ttl or report.ttl).value
    yield (
        f"A warm request in place of a cold one saves {usd(money.warm_saves_usd)}: reading {money.cached_tokens:,} "
        f"tokens costs {usd(money.read_usd)}, writing them for {ttl} {usd(money.write_usd)}."
    )
    if money.break_even_requests is None:
        yield "Break-even: never; reading from the cache costs no less than plain input."
    else:
        yield f"Break-even: caching pays from request {money.break_even_requests} within {ttl} on."
    if money.pings_paid:
        yield f"Keeping warm: one avoided cold start pays for {_count(money.pings_paid, 'ping')}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
