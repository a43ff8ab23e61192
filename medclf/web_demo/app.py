"""What the server answers: the page, and a file's bytes that are posted. No request names a file or an address."""

import asyncio
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.web_demo.page import read_asset, render_answer, render_refusal
from medclf.web_demo.prediction_answer import Answer
from medclf.web_demo.server import HOST
from medclf.web_demo.upload_memory import BusyError, TooLargeError, Upload, Uploads

log = logging.getLogger(__name__)
MB = 10**6
IN_MEMORY = 4
"""Uploads of the largest size that are held in memory at once."""
WAITING = 8
"""Complete uploads that may wait for their answer, one of them being answered."""
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}


def build_app(ask: Callable[[bytes], Answer], page: str, max_mb: float) -> Starlette:
    """Return the application.

    Args:
        ask: answers for a file's bytes, or raises UnreadableImageError; one call at a time.
        page: the page's HTML.
        max_mb: more than so many million bytes are refused.
    """
    turn, limit = asyncio.Lock(), round(max_mb * MB)
    uploads = Uploads(limit, IN_MEMORY * limit, WAITING)

    async def answer(request: Request) -> Response:
        if _is_foreign(request):
            return _refusal("Another page may not ask here.", 403)
        try:
            upload = await uploads.receive(request.stream())
        except ClientDisconnect:
            return Response(status_code=400)
        except TooLargeError as error:
            return _refusal(f"The file is larger than the {max_mb:g} MB that are taken.", 413, closing=not error.ended)
        except BusyError:
            return _refusal("Too many images at once; try again in a moment.", 503)
        try:
            async with turn:
                return await _answered(request, upload)
        finally:
            uploads.release(upload)

    async def _answered(request: Request, upload: Upload) -> Response:
        if await request.is_disconnected():
            return Response(status_code=400)
        try:
            return HTMLResponse(render_answer(await run_in_threadpool(ask, bytes(upload.content))))
        except UnreadableImageError as error:
            return _refusal(f"The file cannot be read: {error}.", 422)
        except Exception as error:  # no file may end the page's work
            log.error("An image could not be answered for (%s: %s).", type(error).__name__, error)
            return _refusal("This image cannot be answered for; the terminal says why.", 500)

    routes = [Route("/", _fixed(page, "text/html")), Route("/answer", answer, methods=["POST"])]
    routes += [Route(f"/{name}", _fixed(read_asset(name), kind)) for name, kind in ASSETS.items()]
    # a page of another site whose name is made to lead here would send that name
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=routes, middleware=[trusted])


def _fixed(content: str, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(content, media_type=kind)


def _is_foreign(request: Request) -> bool:
    """Whether a page of another site asks; browsers say which does, programs that are no browser do not."""
    origin = request.headers.get("origin")
    return origin is not None and origin != f"http://{request.headers['host']}"


def _refusal(message: str, status: int, closing: bool = False) -> Response:
    headers = {"Connection": "close"} if closing else {}
    headers |= {"Retry-After": "2"} if status == 503 else {}
    return HTMLResponse(render_refusal(message), status, headers)
