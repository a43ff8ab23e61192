"""What the server answers: the page, and a file's bytes that are posted. No request names a file or an address."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from medclf.data.pixels import UnreadableImageError
from medclf.demonstration.answer import Answer
from medclf.demonstration.pages import answered, asset, refused
from medclf.demonstration.serving import HOST

MB = 10**6
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}


def build_app(ask: Callable[[bytes], Answer], page: str, max_mb: float) -> Starlette:
    """The application.

    Args:
        ask: answers for a file's bytes, or raises UnreadableImageError; one call at a time.
        page: the page's HTML.
        max_mb: more than so many million bytes are refused.
    """
    turn = asyncio.Lock()

    async def answer(request: Request) -> Response:
        if _is_foreign(request):
            return HTMLResponse(refused("Another page may not ask here."), 403)
        try:
            content = await _body(request, round(max_mb * MB))
        except ClientDisconnect:
            return Response(status_code=400)
        if content is None:
            return HTMLResponse(refused(f"The file is larger than the {max_mb:g} MB that are taken."), 413)
        try:
            async with turn:
                found = await run_in_threadpool(ask, content)
        except UnreadableImageError as error:
            return HTMLResponse(refused(f"The file cannot be read: {error}."), 422)
        return HTMLResponse(answered(found))

    routes = [Route("/", _fixed(page, "text/html")), Route("/answer", answer, methods=["POST"])]
    routes += [Route(f"/{name}", _fixed(asset(name), kind)) for name, kind in ASSETS.items()]
    # a page of another site whose name is made to lead here would send that name
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=routes, middleware=[trusted])


def _fixed(content: str, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(content, media_type=kind)


def _is_foreign(request: Request) -> bool:
    """Whether a page of another site asks; browsers say which does, programs that are no browser do not."""
    origin = request.headers.get("origin")
    return origin is not None and origin != f"http://{request.headers['host']}"


async def _body(request: Request, limit: int) -> bytes | None:
    """The posted bytes; None where there are more than the limit, which are read to their end and not kept.

    A browser shows what a server answers only once it has sent all.
    """
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            content.clear()
        else:
            content += chunk
    return None if size > limit else bytes(content)
