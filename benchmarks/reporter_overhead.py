"""What the reporter adds to a call: CPU of the calling thread, wall time, and CPU of its own thread, beside bare boto3.

It asks a server in another process that answers at once, and a receiver there that takes every batch. Bare and reported
calls take turns in blocks, so that a noisy machine disturbs both alike; medians are printed.

Run: `python benchmarks/reporter_overhead.py [--calls 200] [--rounds 5]`.
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Figures:
    """Medians of one way of calling, in microseconds a call."""

    cpu: float
    wall: float
    background: float


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


def measure(call: Callable[[Any], object], client: Any, calls: int, url: str | None) -> Figures:
    """One block of calls, and with a url the share of the reporter's thread until all is delivered."""
    cpus, walls = [], []
    process, own = time.process_time(), time.thread_time()
    for _ in range(calls):
        wall, cpu = time.perf_counter(), time.thread_time()  # noqa: TID251 - it measures
        call(client)
        cpus.append(time.thread_time() - cpu)
        walls.append(time.perf_counter() - wall)  # noqa: TID251
    if url:
        reporter.flush(60, url)
    background = (time.process_time() - process) - (time.thread_time() - own)
    return Figures(*(1e6 * each for each in (statistics.median(cpus), statistics.median(walls), background / calls)))


def middle(found: list[Figures]) -> Figures:
    """The medians of several blocks."""
    return Figures(
        *(statistics.median(getattr(each, name) for each in found) for name in ("cpu", "wall", "background"))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    server.start()
    bare, reported = make_client(url), make_client(url)
    reporter.install(reported, url)
    out = sys.stdout.write
    out("us a call, medians      bare: cpu   wall | reporter adds: cpu (ratio)       wall (ratio) | its thread's cpu\n")
    for size_name, size in SIZES.items():
        for name, call in make_calls(size).items():
            blocks: dict[bool, list[Figures]] = {False: [], True: []}
            for client in (bare, reported):
                measure(call, client, 10, url)
            for _ in range(options.rounds):
                blocks[False].append(measure(call, bare, options.calls, None))
                blocks[True].append(measure(call, reported, options.calls, url))
            plain, told = middle(blocks[False]), middle(blocks[True])
            out(
                f"{size_name:>6} {name:<14} {plain.cpu:11.0f} {plain.wall:6.0f} | {told.cpu - plain.cpu:18.0f} "
                f"({told.cpu / plain.cpu:4.2f}) {told.wall - plain.wall:9.0f} ({told.wall / plain.wall:4.2f}) | "
                f"{told.background - plain.background:10.0f}\n"
            )
    out(f"{reporter.stats(url)}\n")
    server.terminate()


if __name__ == "__main__":
    main()
