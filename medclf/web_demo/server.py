"""The server: on this machine's own address alone. Imports no torch."""

import errno
import logging
import socket

import uvicorn
from starlette.applications import Starlette

from medclf.utils.errors import ConfigError
from medclf.web_demo.connections import CONNECTIONS, HEADER_BYTES, BoundedConnection

HOST = "127.0.0.1"
KEEP_ALIVE = 5
"""Seconds that an idle connection stays open."""
PATIENCE = 3
"""Seconds that an answer still has after Ctrl-C."""
HEADERS = [
    # the page loads from here alone, is shown in no other page, and runs no script but its own
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
]


def listen(port: int) -> socket.socket:
    """Take a port of this machine's own address; 0 takes any that is free.

    Raises:
        ConfigError: for one that is in use, naming one that is free, or not to be had.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
    with socket.create_server((HOST, 0)) as free:
        raise ConfigError(f"port={port}: {why}; port={free.getsockname()[1]} is free")


def address(listening: socket.socket) -> str:
    """Return the address to open in a browser."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until Ctrl-C. Raises KeyboardInterrupt then."""
    build_server(app).run(sockets=[listening])


def build_server(app: Starlette) -> uvicorn.Server:
    """Return the server of an application, within the limits of ``connections``."""
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.ERROR)  # a malformed request is not worth a line
    logger.addFilter(_in_one_line)
    config = uvicorn.Config(
        app,
        # the same whatever else is installed
        loop="asyncio",
        http=BoundedConnection,
        h11_max_incomplete_event_size=HEADER_BYTES,
        # sockets accepted before their handlers run: a burst must not use up the process's file descriptors
        backlog=CONNECTIONS // 2,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        headers=HEADERS,
        log_config=None,
        access_log=False,
        limit_concurrency=2 * CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=PATIENCE,
    )
    return uvicorn.Server(config)


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shorten the traceback of a failed request to its last line."""
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        record.msg, record.args, record.exc_info = "A request failed (%s: %s).", (type(error).__name__, error), None
    return True
