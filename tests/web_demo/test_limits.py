"""What one client may hold of the page's server: connections, time and memory."""

import asyncio
import http.client
import logging
import socket
import threading
import time

import pytest

from medclf.web_demo import connections
from medclf.web_demo.app import build_app
from medclf.web_demo.server import build_server, listen
from medclf.web_demo.upload_memory import BusyError, TooLargeError, Uploads

SECONDS = 0.4
"""That the server of these tests waits for headers, and for an upload."""
MANY = 6
"""Connections that it keeps open."""


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "BODY_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "CONNECTIONS", MANY)

    def ask(content):
        raise ValueError("of no use to a stranger: /root/secret")

    server = build_server(build_app(ask, "the page", max_mb=0.1))
    with listen(0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(20)


def begin(port, content, header="Content-Length: 90000"):
    """A connection on which so much of an upload was sent; no header: half a request."""
    sender = socket.create_connection(("127.0.0.1", port), timeout=10)
    ending = f"{header}\r\n\r\n" if header else ""
    sender.sendall(f"POST /answer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{ending}".encode() + content)
    return sender


def rest(sender):
    """What the server says until it closes the connection."""
    answer = b""
    while piece := sender.recv(4096):
        answer += piece
    sender.close()
    return answer


def page(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    connection.close()
    return answer.status


@pytest.mark.parametrize("header", ["Content-Length: 90000", "Transfer-Encoding: chunked", None])
def test_a_slow_sender_is_told_and_closed(port, header):
    begun = time.perf_counter()
    assert rest(begin(port, b"", header)).startswith(b"HTTP/1.1 408")
    assert SECONDS * 0.9 < time.perf_counter() - begun < 10


def test_an_answer_that_is_not_fetched_closes_the_connection(port):
    sender = begin(port, b"", "Content-Length: 0\r\nOrigin: http://elsewhere")
    assert b"403 Forbidden" in rest(sender)


@pytest.mark.parametrize(
    ("header", "sent"), [(None, 0), ("Content-Length: 90000", 0), ("Content-Length: 90000", 80_000)]
)
def test_slow_senders_keep_no_one_out(port, header, sent):
    senders = [begin(port, bytes(sent), header) for _ in range(3 * MANY)]
    begun = time.perf_counter()
    assert page(port) == 200
    assert time.perf_counter() - begun < 5
    for sender in senders:
        sender.close()


REQUESTS = {
    "no length": b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: abc\r\n\r\n",
    "chunked nonsense": b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n",
    "nonsense after a refusal": b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://elsewhere\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n",
    "long headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000,
    "no HTTP": bytes(range(256)) + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "no host": b"GET / HTTP/1.0\r\n\r\n",
    "another path": b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "a failure of ours": b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_request_is_answered_with_a_traceback_or_a_path(port, name, caplog):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sender:
        try:
            sender.sendall(REQUESTS[name])
            answer = rest(sender)
        except ConnectionError:  # closed before it had read all of it
            answer = b""
    assert not answer or answer[9:12] in (b"400", b"403", b"404", b"408", b"500")
    assert b"Traceback" not in answer and b"/root" not in answer
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.ERROR]
    assert page(port) == 200


async def chunks(*pieces):
    for piece in pieces:
        yield piece


async def endless(uploads):
    """Half an upload, whose rest never comes."""
    waiting = asyncio.Event()

    async def pieces():
        yield b"x" * 8
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(uploads.receive(pieces()))
    await waiting.wait()
    return task


def test_uploads_have_bounded_memory_and_the_oldest_unfinished_one_gives_way():
    async def work():
        uploads = Uploads(limit=10, most=20, waiting=4)
        slow = [await endless(uploads) for _ in range(5)]
        assert uploads.held <= 20
        fast = await uploads.receive(chunks(b"12345", b"67890", b""))
        assert bytes(fast.content) == b"1234567890" and uploads.held <= 20
        uploads.release(fast)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert uploads.held == 0

    asyncio.run(work())


def test_uploads_that_are_too_large_or_too_many_are_refused():
    async def work():
        uploads = Uploads(limit=10, most=40, waiting=2)
        for pieces, ended in (((b"x" * 6, b"x" * 6), True), ((b"x" * 16, b"x" * 16), False)):
            with pytest.raises(TooLargeError) as caught:
                await uploads.receive(chunks(*pieces))
            assert caught.value.ended == ended
        kept = [await uploads.receive(chunks(b"x")) for _ in range(2)]
        with pytest.raises(BusyError):
            await uploads.receive(chunks(b"x"))
        for upload in kept:
            uploads.release(upload)
        assert uploads.held == 0 and await uploads.receive(chunks(b"x"))

    asyncio.run(work())
