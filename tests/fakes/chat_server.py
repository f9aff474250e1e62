"""An OpenAI-compatible endpoint that does what a script says: a real server on a real socket, in a thread.

It counts for itself what it was asked and what it charges for, so that a ledger can be held against it.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

HUGE_BYTES = 10_000_000


@dataclass(frozen=True)
class Turn:
    """How one request is answered."""

    kind: Literal["reply", "raw", "status", "hang", "huge", "drop"] = "reply"
    """`raw`: a body that is not of the protocol; `drop`: the connection is cut in the middle of the body."""
    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


Script = Callable[[dict[str, Any], int], Turn]
"""(the request's body, how often this question was asked before) to what happens."""


class ChatServer:
    """What it was told and what it did. Tokens are words here."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests = 0
        self.hung = 0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.asked: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.tokens_told = 0
        """Of the replies that went out whole, with their usage."""
        self.tokens_charged = 0
        """Those, and all that hung, broke or overflowed, at the length they were allowed."""
        self.huge_bytes_sent = 0
        """Of the bodies of `huge`, as far as the other side took them."""
        self.in_flight = self.most_in_flight = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = int(next(line for line in head.lower().split("\r\n") if "content-length" in line).split(":")[1])
                body = json.loads(await reader.readexactly(size))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self._answer(head, body, writer)
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        question = body["messages"][-1]["content"]
        turn = self.script(body, self.asked[question])
        self.requests += 1
        self.bodies.append(body)
        self.headers.append(head)
        self.asked[question] += 1
        read = sum(len(message["content"].split()) for message in body["messages"])
        most = read + body.get("max_tokens", body.get("max_completion_tokens", 0))
        if turn.delay_s:
            await asyncio.sleep(turn.delay_s)
        if turn.kind == "reply":
            written = len(turn.text.split())
            usage = {"prompt_tokens": read, "completion_tokens": written}
            choice = {"index": 0, "message": {"role": "assistant", "content": turn.text}, "finish_reason": "stop"}
            self.tokens_charged += read + written
            await _send(writer, 200, json.dumps({"choices": [choice], "usage": usage}).encode())
            self.tokens_told += read + written
            self.completed[question] += 1
        elif turn.kind == "status":
            await _send(writer, turn.status, b'{"error": "for a reason"}', turn.headers)
        else:
            self.tokens_charged += most
            await self._misbehave(turn, writer)

    async def _misbehave(self, turn: Turn, writer: asyncio.StreamWriter) -> None:
        if turn.kind == "hang":
            self.hung += 1
            await asyncio.sleep(60)
        elif turn.kind == "raw":
            await _send(writer, 200, turn.text.encode(), turn.headers)
        elif turn.kind == "drop":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            await writer.drain()
            raise ConnectionError
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE_BYTES)
            for _part in range(HUGE_BYTES // 100_000):
                writer.write(b"x" * 100_000)
                await writer.drain()
                self.huge_bytes_sent += 100_000


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


@contextmanager
def chat_server(script: Script) -> Iterator[ChatServer]:
    """A server that answers by `script`, at its `url`, until the block ends."""
    server, loop, started = ChatServer(script), asyncio.new_event_loop(), threading.Event()

    async def start() -> asyncio.Server:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        return listening

    async def stop() -> None:
        listening.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(started.set)
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    listening = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
