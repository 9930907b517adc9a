"""A request's images, from what the caller wrote to tiles: fetched or unpacked, checked, decoded in threads, and held within bounds.

What is held counts from before an image is decoded until its request is answered, since a full queue leaves tiles waiting in this process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from batching.cores import usable_cores
from batching.errors import Expired, TooLarge
from batching.families.base import Pictures
from batching.families.card import ModelCard
from batching.tiles import Pixels
from service.held import Bound, Held
from service.images.addresses import NotAllowed, Rules
from service.images.sources import embedded, is_url, refused, too_many_bytes
from service.schemas import Picture
from service.settings import PREFIX, Settings

MOST_THREADS = 4
FETCHES = 16
"""Images of one process that are fetched at once; their files are in memory beside the tiles."""
SHARED_BYTES = 256 * 1024 * 1024
"""Of shared memory for one HTTP process's tiles with one model; more of them wait in the process itself."""


def installed() -> bool:
    """Whether Pillow is there."""
    return importlib.util.find_spec("PIL") is not None


def shared_bytes(settings: Settings, card: ModelCard) -> int:
    """Shared memory for tiles that a model's queue needs for each HTTP process."""
    return min(SHARED_BYTES, settings.image_queue_bytes) if card.family.pictures else 0


class Gallery:
    """One HTTP process's images."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules.of(settings.image_hosts, settings.image_networks)
        most = settings.image_queue_bytes
        self.held = Bound(
            most,
            full=f"images take all of {most:,} bytes now ({PREFIX}IMAGE_QUEUE_BYTES)",
            too_large=lambda: TooLarge(
                f"the request's images become more than {most:,} bytes of tiles ({PREFIX}IMAGE_QUEUE_BYTES)", "documents"
            ),
        )
        self._fetches = asyncio.Semaphore(FETCHES)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        count = max(1, min(MOST_THREADS, usable_cores() // self._settings.workers))
        return ThreadPoolExecutor(count, thread_name_prefix="images")

    async def tiles(self, wanted: Mapping[int, Picture], pictures: Pictures, held: Held, deadline: float) -> dict[int, Pixels]:
        """The tiles of every picture. `deadline` in monotonic seconds.

        Raises InvalidRequest naming the document for an image that can't be had, read or is too large; TooLarge, Overloaded, Expired.
        """
        tasks = [asyncio.ensure_future(self._tiles(picture, pictures, held, deadline)) for picture in wanted.values()]
        try:
            return dict(zip(wanted, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tiles(self, picture: Picture, pictures: Pictures, held: Held, deadline: float) -> Pixels:
        run = asyncio.get_running_loop().run_in_executor
        if not is_url(picture):
            return await run(self._threads, self._cut, picture, None, pictures.side, held)
        async with self._fetches:  # until it is decoded, as its file is in memory so long
            data = await self._fetch(picture, deadline)
            return await run(self._threads, self._cut, picture, data, pictures.side, held)

    def _cut(self, picture: Picture, data: bytes | None, side: int, held: Held) -> Pixels:
        """The tiles of a picture, whose file is `data` or comes with it. Runs in a thread."""
        from service.images.pixels import BadImage, cut  # Pillow comes with the first image, if one ever comes

        try:
            data = embedded(picture, self._settings.image_bytes) if data is None else data
            return cut(data, side, self._settings.image_pixels, held.take)
        except BadImage as error:
            raise refused(picture, str(error)) from None

    async def _fetch(self, picture: Picture, deadline: float) -> bytes:
        from httpcore import NetworkError, ProtocolError, TimeoutException, UnsupportedProtocol

        from service.images.fetch import TooManyBytes, fetch

        most, left_s = self._settings.image_timeout, deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(most, left_s)):
                return await fetch(picture.source, self._rules, most_bytes=self._settings.image_bytes)
        except NotAllowed as error:
            raise refused(picture, str(error)) from None
        except TooManyBytes:
            raise too_many_bytes(picture, self._settings.image_bytes) from None
        except TimeoutError:
            if left_s < most:
                raise Expired("the deadline passed before the request's images were fetched") from None
            raise refused(picture, f"was not fetched within {most:g} s ({PREFIX}IMAGE_TIMEOUT)") from None
        except (NetworkError, ProtocolError, TimeoutException, UnsupportedProtocol, OSError) as error:
            raise refused(picture, f"can't be fetched: {_told(error)}") from None

    def close(self) -> None:
        """End the threads, which finish the image they are at."""
        if "_threads" in self.__dict__:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _told(error: Exception) -> str:
    """What a caller may know of a failed fetch: the host's status, or the kind of failure; nothing of what else stands there."""
    text = str(error)
    return text if text.startswith("status ") else type(error).__name__
