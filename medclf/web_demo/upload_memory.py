"""The uploads that the page's server holds at once, in bounded memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field


class BusyError(Exception):
    """Too many uploads arrive at once."""


class TooLargeError(Exception):
    """An upload above the limit; ``ended`` says whether the client has sent all of it."""

    def __init__(self, ended: bool) -> None:
        super().__init__()
        self.ended = ended


@dataclass(eq=False)
class Upload:
    """One upload: its bytes so far, and whether they were dropped in favour of a later upload."""

    content: bytearray = field(default_factory=bytearray)
    dropped: bool = False


class Uploads:
    """All uploads that arrive or wait for their answer.

    Where they exceed ``most`` bytes together, the one that has been arriving the longest is dropped: a slow sender
    never keeps out a fast one.

    Args:
        limit: bytes of one upload.
        most: bytes of all, at least ``limit``.
        waiting: complete uploads that may wait for their answer.
    """

    def __init__(self, limit: int, most: int, waiting: int) -> None:
        self.limit, self.most, self.waiting = limit, most, waiting
        self.held = 0
        self._arriving: dict[Upload, None] = {}
        self._complete: dict[Upload, None] = {}

    async def receive(self, chunks: AsyncIterator[bytes]) -> Upload:
        """Take an upload to its end; ``release`` must follow once it is answered.

        What is too large is read on to twice the limit and not kept, since a browser shows what a server answers only
        once it has sent all.

        Raises:
            TooLargeError: above the limit.
            BusyError: where the memory was needed for others, or too many wait.
        """
        upload, size = Upload(), 0
        self._arriving[upload] = None
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > 2 * self.limit:
                    raise TooLargeError(ended=False)
                if size > self.limit:
                    self._drop(upload)
                elif not upload.dropped:
                    self._keep(upload, chunk)
            if size > self.limit:
                raise TooLargeError(ended=True)
            if upload.dropped or len(self._complete) >= self.waiting:
                raise BusyError
        except BaseException:
            self.release(upload)
            raise
        del self._arriving[upload]
        self._complete[upload] = None
        return upload

    def release(self, upload: Upload) -> None:
        """Forget an upload."""
        self._drop(upload)
        self._arriving.pop(upload, None)
        self._complete.pop(upload, None)

    def _keep(self, upload: Upload, chunk: bytes) -> None:
        upload.content += chunk
        self.held += len(chunk)
        while self.held > self.most:
            self._drop(next(one for one in self._arriving if one.content))

    def _drop(self, upload: Upload) -> None:
        self.held -= len(upload.content)
        upload.content.clear()
        upload.dropped = True
