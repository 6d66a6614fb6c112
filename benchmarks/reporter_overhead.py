"""What the reporter adds to a call: CPU of the calling thread, wall time, and CPU of its own thread, beside bare boto3.

It asks a server in another process that answers at once and takes every batch. What the hooks add is measured in pairs
of a bare and a reported call, with the reporter's thread asleep, so that a noisy machine disturbs both alike. What that
thread costs is its CPU time; that it shares the interpreter's lock shows in the wall time of calls at full speed.

Run: `python benchmarks/reporter_overhead.py [--calls 400]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3

from keepwarm import reporter

MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
SIZES = {"5 KB": 5_000, "100 KB": 100_000, "1 MB": 1_000_000}
BLOCKS = 10
KEYS = {"aws_access_key_id": "example", "aws_secret_access_key": "example"}
TAKEN = b'{"accepted":1,"duplicate":0,"unknown":0,"refused":[]}'
CONVERSE = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4, "cacheReadInputTokens": 2000},
        "metrics": {"latencyMs": 1},
    }
).encode()
INVOKE = json.dumps(
    {"content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 3, "output_tokens": 1}}
).encode()


def serve(listener: socket.socket) -> None:
    """Answer on every connection in turn of arrival, one thread for each."""
    import threading  # noqa: PLC0415 - in the child

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        while head := stream.readline():
            length = 0
            while (line := stream.readline()) not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            stream.read(length)
            path = head.split()[1]
            body = CONVERSE if path.endswith(b"/converse") else INVOKE if path.endswith(b"/invoke") else TAKEN
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-RequestId: r\r\n"
                b"X-Amzn-Bedrock-Input-Token-Count: 3\r\nX-Amzn-Bedrock-Output-Token-Count: 1\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def make_client(url: str) -> Any:
    """A boto3 client for the server."""
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=url,
        **KEYS,
    )


def make_calls(size: int) -> dict[str, Callable[[Any], object]]:
    """The two calls with a prompt of so many bytes."""
    text = ("All work and no play makes Jack a dull boy. " * (size // 44 + 1))[: size // BLOCKS]
    system = [{"text": text} for _ in range(BLOCKS)]
    arguments = {
        "modelId": MODEL,
        "system": [*system, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "q"}]}],
    }
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for _ in range(BLOCKS)]
    blocks[-1]["cache_control"] = {"type": "ephemeral"}
    body = json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1,
            "system": blocks,
            "messages": [{"role": "user", "content": "q"}],
        }
    ).encode()
    return {
        "converse": lambda client: client.converse(**arguments),
        "invoke_model": lambda client: client.invoke_model(modelId=MODEL, body=body)["body"].read(),
    }


def timed(call: Callable[[Any], object], client: Any) -> tuple[float, float]:
    """CPU of the calling thread and wall time of one call, in microseconds."""
    wall, cpu = time.perf_counter(), time.thread_time()  # noqa: TID251 - it measures
    call(client)
    cpu = time.thread_time() - cpu
    return 1e6 * cpu, 1e6 * (time.perf_counter() - wall)  # noqa: TID251


def in_pairs(call: Callable[[Any], object], bare: Any, hooked: Any, calls: int) -> tuple[float, float, float, float]:
    """Medians: bare CPU and wall time, and what the hooks add to each while the reporter's thread sleeps."""
    plain, added = [], []
    for number in range(calls):
        order = (bare, hooked) if number % 2 else (hooked, bare)
        found = {id(client): timed(call, client) for client in order}
        (cpu, wall), (hooked_cpu, hooked_wall) = found[id(bare)], found[id(hooked)]
        plain.append((cpu, wall))
        added.append((hooked_cpu - cpu, hooked_wall - wall))
    columns = [*zip(*plain, strict=True), *zip(*added, strict=True)]
    return tuple(map(statistics.median, columns))  # type: ignore[return-value]


def at_full_speed(call: Callable[[Any], object], client: Any, calls: int) -> float:
    """Wall time a call, in microseconds: the median of calls one after the other, the reporter's thread at work."""
    return statistics.median(timed(call, client)[1] for _ in range(calls))


def background(url: str, calls: int) -> float:
    """CPU of the reporter's thread a call, in microseconds, for what waits at this moment."""
    process, own = time.process_time(), time.thread_time()
    reporter.flush(60, url)
    return 1e6 * ((time.process_time() - process) - (time.thread_time() - own)) / calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=400)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    server.start()
    bare, asleep, awake = make_client(url), make_client(url), make_client(url)
    quiet = replace(reporter.Limits(), interval_seconds=3600, batch=100_000, raw_bytes=8_000_000_000)
    reporter.install(asleep, url, token="asleep", limits=quiet)  # noqa: S106 - to tell the two apart
    reporter.install(awake, url)
    out = sys.stdout.write
    out(f"{options.calls} calls each; microseconds a call, medians; calls follow one another as fast as they can\n")
    out("                      |       bare      | added in the calling thread | reporter's | wall at full speed\n")
    out(f"{'':22}|    cpu     wall |   cpu (ratio)   wall (ratio)| thread cpu |   bare  reported (ratio)\n")
    for size_name, size in SIZES.items():
        for name, call in make_calls(size).items():
            in_pairs(call, bare, asleep, 10)
            background(url, 10)
            cpu, wall, more_cpu, more_wall = in_pairs(call, bare, asleep, options.calls)
            share = background(url, options.calls)
            plain = at_full_speed(call, bare, options.calls)
            told = at_full_speed(call, awake, options.calls)
            reporter.flush(60, url)
            out(
                f"{size_name:>6} {name:<14} | {cpu:6.0f} {wall:8.0f} | {more_cpu:5.0f} ({1 + more_cpu / cpu:4.2f}) "
                f"{more_wall:7.0f} ({1 + more_wall / wall:4.2f}) | {share:10.0f} | {plain:6.0f} {told:9.0f} "
                f"({told / plain:4.2f})\n"
            )
    out(f"{reporter.stats(url)}\n")
    server.terminate()


if __name__ == "__main__":
    main()
