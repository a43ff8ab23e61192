"""The server: on this machine's own address alone. Imports no torch."""

import errno
import socket

import uvicorn
from starlette.applications import Starlette

from medclf.errors import ConfigError

HOST = "127.0.0.1"
AT_ONCE = 32
"""Connections; a browser has six."""
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
    """What one types into a browser."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until Ctrl-C. Raises KeyboardInterrupt then."""
    config = uvicorn.Config(
        app,
        # the same whatever else is installed
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        headers=HEADERS,
        log_config=None,
        access_log=False,
        limit_concurrency=AT_ONCE,
        timeout_graceful_shutdown=PATIENCE,
    )
    uvicorn.Server(config).run(sockets=[listening])
