"""One connection of the page's server: how long a client may take, and which is closed when there are too many."""

import asyncio
import logging
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)
CONNECTIONS = 128
"""Open at once; one more closes the oldest that is still waiting for its client. A browser opens six."""
HEADER_SECONDS = 10.0
"""From opening a connection, or the first byte of its next request, to the end of the request's headers."""
BODY_SECONDS = 60.0
"""From there to the end of an upload."""
ANSWER_SECONDS = 30.0
"""From the end of an answer until the client has taken it."""
HEADER_BYTES = 16 * 1024
"""Longer headers are refused."""
TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BoundedConnection(H11Protocol):
    """A connection that a slow client cannot hold for long.

    While a request arrives, or its answer leaves, a timer runs; while the answer is computed, none does.
    """

    waiting: ClassVar[dict["BoundedConnection", None]] = {}
    """Connections whose timer runs, the oldest first; there is one server in a process."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._timer: asyncio.TimerHandle | None = None
        self._stage = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer, and make room where there are too many connections."""
        super().connection_made(transport)
        self._follow()
        if len(self.connections) > CONNECTIONS and self.waiting:
            next(iter(self.waiting)).drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._enter("", 0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is not HTTP closes the connection."""
        try:
            super().data_received(data)
        except Exception as error:  # h11 raises if the client keeps sending after its request was refused
            log.debug("closed a connection that does not speak HTTP: %s", error)
            self.drop()
        self._follow()

    def on_response_complete(self) -> None:
        """Give the client some time to take the answer."""
        try:
            super().on_response_complete()
        except Exception as error:  # the next request is in the buffer and no HTTP
            log.debug("closed a connection that does not speak HTTP: %s", error)
            self.drop()
        self._follow()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; whoever is at work on the request has no one left to answer."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Bound how long a client may leave an answer unread."""
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        self._follow()

    def drop(self) -> None:
        """Close the connection at once."""
        self._enter("", 0)
        self.transport.abort()

    def _follow(self) -> None:
        """Run the timer that the state of the request asks for."""
        seconds = {"headers": HEADER_SECONDS, "body": BODY_SECONDS, "answer": ANSWER_SECONDS}
        stage = self._current()
        if stage != self._stage:
            self._enter(stage, seconds.get(stage, 0))

    def _current(self) -> str:
        if self.cycle is None:
            return "headers"
        if self.flow.write_paused:
            return "answer"
        if self.cycle.response_complete:
            # bytes of a next request have its own timer, from the first of them on
            return "headers" if self.timeout_keep_alive_task is None and not self._leaving() else "answer"
        return "body" if self.cycle.more_body else ""

    def _leaving(self) -> bool:
        return bool(self.cycle.more_body or self.transport.get_write_buffer_size())

    def _enter(self, stage: str, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._stage = None, stage
        if stage:
            self.waiting.setdefault(self)
            self._timer = self.loop.call_later(seconds, self._expire)
        else:
            self.waiting.pop(self, None)

    def _expire(self) -> None:
        """Say that it took too long where nothing was answered yet, and close."""
        if self._stage != "answer" and not self.transport.is_closing():
            self.transport.write(TIMEOUT)
        self.loop.call_later(1, self.transport.abort)
        self._enter("", 0)
        self.transport.close()
