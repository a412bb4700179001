"""One download for all: what consumers, downloads and warm-ups ask of a venue's past is asked of the venue once.

Bars that are surely final go to files that outlive the process (``shelf.py``), and whoever asks for them again, or for
a part of them, or for more at either end, makes the venue answer only for what is missing. Questions about one stream
wait for each other. A source without limits that anybody counts (the demo, a replay) is asked directly.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ..bus.archive import Archive, Page
from ..bus.errors import Fault, Hopeless
from ..bus.messages import Bar, Instrument
from ..bus.names import Key, parse_key, timeframe_ms
from ..bus.rundir import cache_dir
from .budget import BULK, WARM_UP, urgency
from .contract import ConfigError, Disconnected, Provider, Refused
from .shelf import Shelf, clear

log = logging.getLogger("pynelive")
DAY_MS = 86_400_000
PIECE = 5_000
"""Bars that are asked for at once, and kept before the next are asked for."""

_MAX_AGE_MS = 30 * DAY_MS
"""Venues repair their history: what was asked for longer ago is asked for again."""

_SETTLE_BARS, _SETTLE_MS = 2, 60_000
"""So long after its close a bar may still be corrected; until then it is not kept on the disk."""

_FRESH_MS = 5_000
"""So long an answer about the newest bars holds, also if bars seem to be missing: there may be none."""

_STRETCH = ((2, 0), (8, 0), (8, 14 * DAY_MS))
"""How much further back history is asked for when sessions leave holes: so many times the bars, and so long (ms)."""

_GRID = 100
"""A count of bars is asked for from a whole hundred of them on, so that neighbours ask for the same."""


_SECRET = re.compile("key|secret|pass|token|identifier")
"""Options by which an account is known; it is in the path already, and keys may be renewed."""

_READ = 16
"""Streams of which the last answer stays in memory: many consumers start at once, and reading a file is slow."""


class _Part(NamedTuple):
    """All bars of a span of time."""

    from_ms: int
    to_ms: int
    bars: list[Bar]

    def has(self, from_ms: int, to_ms: int) -> bool:
        """Whether the other span is in this one."""
        return self.from_ms <= from_ms and to_ms <= self.to_ms

    def cut(self, from_ms: int, to_ms: int) -> list[Bar]:
        """The bars of the other span."""
        return [bar for bar in self.bars if from_ms <= bar.time_ms < to_ms]


class History(Archive):
    """The past of a provider's venue.

    :param instruments: by key, those that are known; others are asked for when they are needed
    :param folder: where downloads are kept; by default the user's, which all buses share
    """

    def __init__(
        self, provider: Provider, instruments: Mapping[Key, Instrument] | None = None, folder: Path | None = None
    ) -> None:
        self._provider = provider
        self._instruments = instruments if instruments is not None else {}
        self._asked: dict[Key, Instrument] = {}
        self._folder = folder
        self._locks: dict[Key | None, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._newest: dict[Key, _Part] = {}
        self._read: dict[Key, _Part] = {}
        self._empty: dict[Key, tuple[int, int, int]] = {}
        self._names: tuple[list[str], int] | None = None
        self._unkept: set[Key] = set()
        """What could not be kept the last time."""

    # --- what a publisher is asked ------------------------------------------------------------------------------

    async def older(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        """The last ``count`` closed bars between two times (0: up to now); none from a provider without history."""
        urgency.set(WARM_UP)
        if not self._provider.capabilities.history:
            return []
        with _in_plain_words(stream):
            return await self.bars(self._key(stream), count, after_ms, before_ms or self._provider.now_ms())

    async def fetch(self, stream: str, from_ms: int, to_ms: int, fresh: bool = False) -> Page:
        """The instrument and the bars of the first piece of a span."""
        urgency.set(BULK)
        if not self._provider.capabilities.history:
            raise Hopeless(f"{stream}: its provider has no history")
        with _in_plain_words(stream):
            key = self._key(stream)
            if fresh:
                await self.forget(key)
            to_ms = min(to_ms, self._provider.now_ms())
            end_ms = min(to_ms, from_ms + PIECE * timeframe_ms(key.timeframe))
            bars = await self.span(key, from_ms, end_ms)
            return Page([await self._instrument(key), *bars], end_ms if end_ms < to_ms else 0)

    async def symbols(self, search: str = "") -> list[str]:
        """The venue's symbols with the text in their names; their list is asked for once a day."""
        if not self._provider.capabilities.symbols:
            raise Hopeless(f"provider '{self._provider.name}' has no list of its symbols")
        now_ms = self._provider.now_ms()
        async with self._locks[None]:
            if self._names is None or self._names[1] + DAY_MS < now_ms:
                with _in_plain_words(self._provider.name):
                    self._names = sorted(await self._provider.get_list_of_symbols()), now_ms
            return [name for name in self._names[0] if search.casefold() in name.casefold()]

    def _key(self, stream: str) -> Key:
        prefix = f"{self._provider.name}:"
        if not stream.startswith(prefix):
            raise Hopeless(f"{stream} is no stream of provider '{self._provider.name}'")
        try:
            key = parse_key(stream.removeprefix(prefix))
        except ValueError as error:
            raise Hopeless(str(error)) from None
        if not self._provider.account and key not in self._provider.keys:
            raise Hopeless(f"{stream} is no stream of this producer: add it to its streams")
        return key

    # --- a span of bars -----------------------------------------------------------------------------------------

    async def bars(self, key: Key, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        """The last ``count`` closed bars that open after the one time and before the other.

        :raises Disconnected: as all that follows
        """
        bars: list[Bar] = []
        length_ms = timeframe_ms(key.timeframe)
        for times, more_ms in _STRETCH:
            from_ms = before_ms - times * count * length_ms - more_ms
            from_ms = max(from_ms - from_ms % (_GRID * length_ms), after_ms + 1)
            bars = await self.span(key, from_ms, before_ms)
            if len(bars) >= count or from_ms == after_ms + 1:
                break
        return bars[-count:]

    async def span(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The closed bars that open from ``from_ms`` until before ``to_ms``, whether or not they can be kept."""
        if not self._provider.account:
            return await self._download(key, from_ms, to_ms)
        async with self._locks[key]:
            try:
                bars = await self._completed(key, from_ms, to_ms)
                self._unkept.discard(key)
            except (Fault, OSError) as error:
                if key not in self._unkept:
                    self._unkept.add(key)
                    log.error("%s: the venue is asked each time, downloads cannot be kept: %s", key, error)
                bars = await self._download(key, from_ms, min(to_ms, self._provider.now_ms()))
            return bars

    async def _completed(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """What the disk has of a span, when it has all of it that the venue has.

        :raises Fault: the disk is full or the like; so does ``OSError``
        """
        now_ms = self._provider.now_ms()
        shelf = await self._shelf(key, now_ms)
        final_ms, to_ms = _final_ms(key, now_ms), min(to_ms, now_ms)
        kept_ms = min(final_ms, to_ms)
        if to_ms > final_ms and not self._knows(key, final_ms, to_ms, now_ms):
            await self._complete(key, shelf, min(from_ms, final_ms), now_ms, final_ms)
        else:
            await self._complete(key, shelf, from_ms, kept_ms, final_ms)
        bars = await self._kept(key, shelf, from_ms, kept_ms)
        return bars + self._newest[key].cut(from_ms, to_ms) if to_ms > final_ms else bars

    async def forget(self, key: Key) -> None:
        """Throw away all that was downloaded of a key."""
        async with self._locks[key]:
            self._newest.pop(key, None)
            self._read.pop(key, None)
            self._empty.pop(key, None)
            await asyncio.to_thread(clear, self._path(key))

    async def _complete(self, key: Key, shelf: Shelf, from_ms: int, to_ms: int, final_ms: int) -> None:
        """Download what is missing, piece by piece; what is not final yet is only remembered."""
        newest: list[Bar] = []
        pieces = _pieces(key, shelf.missing(from_ms, to_ms))
        unknown = {to_ms, *(start_ms for start_ms, _ in pieces)}  # behind any other end are younger bars on the disk
        for start_ms, end_ms in pieces:
            if self._was_empty(key, start_ms, end_ms):
                continue
            bars = await self._download(key, start_ms, end_ms)
            newest += [bar for bar in bars if bar.time_ms >= final_ms]
            if start_ms < final_ms:
                known_ms = end_ms if bars and end_ms not in unknown else _known_ms(key, bars, self._provider.now_ms())
                await self._keep(key, shelf, start_ms, min(end_ms, final_ms), known_ms, bars)
        if to_ms > final_ms:
            self._newest[key] = _Part(final_ms, to_ms, newest)

    async def _keep(
        self, key: Key, shelf: Shelf, from_ms: int, to_ms: int, known_ms: int, bars: list[Bar]
    ) -> None:  # fmt: skip
        """Put an answer on the shelf, so far as it is the last word; the rest of the span is only remembered."""
        now_ms, known_ms = self._provider.now_ms(), min(known_ms, to_ms)
        if known_ms < to_ms:
            self._empty[key] = max(known_ms, from_ms), to_ms, now_ms
        if from_ms < known_ms:
            self._read.pop(key, None)
            old = [bar for bar in bars if bar.time_ms < known_ms]
            await asyncio.to_thread(shelf.add, from_ms, known_ms, old, now_ms)

    def _was_empty(self, key: Key, from_ms: int, to_ms: int) -> bool:
        """Whether the venue has said a moment ago that it has nothing there (yet)."""
        start_ms, end_ms, asked_ms = self._empty.get(key, (0, 0, 0))
        return start_ms <= from_ms and to_ms <= end_ms and asked_ms >= self._provider.now_ms() - _FRESH_MS

    async def _kept(self, key: Key, shelf: Shelf, from_ms: int, to_ms: int) -> list[Bar]:
        part = self._read.pop(key, None)
        if part is None or not part.has(from_ms, to_ms):
            part = _Part(from_ms, to_ms, await asyncio.to_thread(_read, shelf, from_ms, to_ms))
        if len(part.bars) <= 2 * PIECE:
            self._read[key] = part
        if len(self._read) > _READ:
            del self._read[next(iter(self._read))]
        return part.cut(from_ms, to_ms)

    async def _download(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        bars = await self._provider.download_ohlcv(key, from_ms, to_ms)
        found = {bar.time_ms: bar for bar in bars if from_ms <= bar.time_ms < to_ms and bar.closed}
        return [found[time_ms] for time_ms in sorted(found)]

    def _knows(self, key: Key, final_ms: int, to_ms: int, now_ms: int) -> bool:
        """Whether the newest bars are known up to a time, or the venue did not have them a moment ago."""
        newest = self._newest.get(key)
        if newest is None or newest.from_ms != final_ms:
            return False
        complete = bool(newest.bars) and newest.bars[-1].time_ms + 2 * timeframe_ms(key.timeframe) > to_ms
        return complete or to_ms <= newest.to_ms >= now_ms - _FRESH_MS

    async def _shelf(self, key: Key, now_ms: int) -> Shelf:
        instrument = await self._instrument(key)
        return await asyncio.to_thread(Shelf, self._path(key), instrument, now_ms - _MAX_AGE_MS)

    async def _instrument(self, key: Key) -> Instrument:
        if known := self._instruments.get(key) or self._asked.get(key):
            return known
        self._asked[key] = await self._provider.get_symbol_info(key)
        return self._asked[key]

    def _path(self, key: Key) -> Path:
        folder = self._folder or cache_dir() / "history"
        return folder / _place_of(self._provider) / quote(str(key), safe="@")


def _place_of(provider: Provider) -> str:
    """The account, and a mark of the options that are set: a test network, or another address, has other bars."""
    values = {item.name: (getattr(provider.config, item.name), item.default) for item in fields(provider.config)}
    given = [(name, now) for name, (now, default) in values.items() if now != default and not _SECRET.search(name)]
    mark = f"-{blake2b(repr(sorted(given)).encode(), digest_size=4).hexdigest()}" if given else ""
    return quote(provider.account, safe="") + mark


def _final_ms(key: Key, now_ms: int) -> int:
    """Bars that open before it have been closed for long enough; a whole bar, so that it moves with the bars."""
    length_ms = timeframe_ms(key.timeframe)
    settled_ms = now_ms - max(_SETTLE_BARS * length_ms, _SETTLE_MS) - length_ms
    return settled_ms - settled_ms % length_ms


def _known_ms(key: Key, bars: list[Bar], now_ms: int) -> int:
    """Until when an answer is the last word: a venue that is behind has not said that there is nothing to come."""
    length_ms = timeframe_ms(key.timeframe)
    old_ms = now_ms - DAY_MS
    return max(old_ms - old_ms % length_ms, bars[-1].time_ms + length_ms if bars else 0)


def _read(shelf: Shelf, from_ms: int, to_ms: int) -> list[Bar]:
    """The bars of a span of time, without those that are missing."""
    bars: list[Bar] = []
    for start_ms, end_ms in [*shelf.missing(from_ms, to_ms), (to_ms, to_ms)]:
        bars += shelf.read(from_ms, start_ms) if from_ms < start_ms else []
        from_ms = end_ms
    return bars


def _pieces(key: Key, spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    step_ms = PIECE * timeframe_ms(key.timeframe)
    return [(at, min(at + step_ms, end)) for start, end in spans for at in range(start, end, step_ms)]


@contextmanager
def _in_plain_words(what: str) -> Iterator[None]:
    """What a provider raises, as those who ask over the bus are told it."""
    try:
        yield
    except Disconnected as gone:
        raise Fault(str(gone)) from None
    except (Refused, ConfigError) as no:
        raise Hopeless(f"{what}: {no}") from None
