"""A TCP proxy in front of a server, which can refuse connections, slow them down, and cut them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Literal

Mode = Literal["calm", "refuse", "slow", "cut"]
CHUNK_BYTES = 1 << 14
SLOW_S = 0.4  # before each chunk
CUT_BYTES = 700  # of an answer: in the middle of its body, or of its head


class Proxy:
    """Passes bytes on between its port and `target`. Its event loop has a thread of its own."""

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        self._target, self._host, self._mode = target, host, "calm"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = self._do(asyncio.start_server(self._serve, host, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def behave(self, mode: Mode) -> None:
        """From now on: pass everything on; refuse connections, and end those that there are; pass on slowly; or end
        each connection after the first CUT_BYTES of an answer."""
        self._do(self._behave(mode))

    def close(self) -> None:
        """Refuse everything from now on."""
        self.behave("refuse")
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _behave(self, mode: Mode) -> None:
        was, self._mode = self._mode, mode
        if mode == "refuse":
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
        elif was == "refuse":
            self._server = await asyncio.start_server(self._serve, self._host, self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer, is_answer=True))
        for end in (writer, back):
            self._open.discard(end)
            end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_answer: bool = False) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if self._mode == "slow":
                    await asyncio.sleep(SLOW_S)
                if self._mode == "cut" and is_answer:
                    sink.write(chunk[:CUT_BYTES])
                    await sink.drain()
                    break
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass
        # The other direction ends, too.
        sink.transport.close() if not is_answer else sink.transport.abort() if self._mode == "refuse" else sink.close()
