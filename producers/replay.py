"""The replay: recorded bars (``.ohlcv`` or CSV) played again as if they were live.

All files share one clock and are merged by the time at which their bars close. Everything is read and checked
before the first bar is published; what is wrong with the files is said at once.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace

from ..bus.errors import Fault
from ..bus.messages import Bar, Instrument
from ..bus.names import Key, timeframe_ms
from .contract import Capabilities, ConfigError, EndOfData, Provider, Update
from .inferred import hours_of, infer
from .playback import Event, events_of, paced
from .series import Series, load, locate

log = logging.getLogger("pynelive")


class Replay(Provider):
    """Plays files with their own times; what was played already is not played again after a restart."""

    name: ClassVar[str] = "replay"
    capabilities = Capabilities(history=True, forming=True)

    @dataclass
    class Config:
        """The options of a replay; relative paths start from the topology's folder."""

        files: dict[str, str] = field(default_factory=dict)
        """The file of each stream: ``{"BTC/USDT@5" = "btc.csv"}``; ``package:NAME/PATH`` is in a package."""
        speed: float = 1
        """How much faster than real time, 0 as fast as the consumers allow; above 1, pauses are cut."""
        syminfo: dict[str, str] | str = ""
        """PyneCore's symbol ``.toml``, one for all or one a stream; else the file's own, else inferred."""
        forming: int = 0
        """Invented updates within a bar, evenly spaced."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        if problems := [*_faults(self.keys, config), *_missing(base, config)]:
            raise ConfigError(problems)
        self.capabilities = Capabilities(history=True, forming=config.forming > 0, paced=config.speed > 0)
        self._connected = False
        self._loading = asyncio.Lock()
        self._series: dict[Key, Series] = {}
        self._instruments: dict[Key, Instrument] = {}
        self._next = dict.fromkeys(self.keys, 0)

    def check(self) -> None:
        """Read all files."""
        self._load()

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The instrument given, beside the file, or inferred; its ``source`` changes with the file's content.

        :raises ConfigError: what is wrong with the files, all of them
        """
        await self.connect()
        return self._instruments[key]

    def resume_after(self, key: Key, time_ms: int) -> None:
        """Go on with the first bar that opens after ``time_ms``."""
        self._next[key] = bisect_right(self._series[key].times, time_ms)

    async def connect(self) -> None:
        """Read all files, once, in a thread."""
        async with self._loading:
            if not self._series:
                await asyncio.to_thread(self._load)
        self._connected = True

    async def disconnect(self) -> None:
        """Nothing to disconnect from."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the files are read."""
        return self._connected

    async def watch(self) -> AsyncIterator[Update]:
        """All streams merged by time, each from its own next bar; raises ``EndOfData`` after the last one."""
        played = merge(*map(self._play, self.keys), key=itemgetter(0))
        async for update in paced(self._timeline(played), self.config.speed):
            if isinstance(update.message, Bar) and update.message.closed:
                self._next[update.key] += 1
            yield update
        raise EndOfData("all files have been played")

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The bars of the time span that have been played; there is nothing before the first one."""
        series = self._series[key]
        past = min(bisect_left(series.times, to_ms), self._next[key])
        return [series.bar(index) for index in range(bisect_left(series.times, from_ms), past)]

    def _play(self, key: Key) -> Iterator[Event]:
        """One file on the clock of its own times."""
        series, length_s = self._series[key], timeframe_ms(key.timeframe) / 1000
        instrument = self._instruments[key]
        scale = instrument.pricescale / instrument.minmove
        for index in range(self._next[key], len(series)):
            bar = series.bar(index)
            yield from events_of(key, bar, bar.time_ms / 1000, length_s, self.config.forming, scale)

    def _timeline(self, played: Iterable[Event]) -> Iterator[Event]:
        """The same events from 0 on; faster than real time no pause is longer than the longest bar."""
        longest_s = max(timeframe_ms(key.timeframe) for key in self.keys) / 1000
        before_s, at_s = inf, 0.0
        for event in played:
            pause_s = max(event.at_s - before_s, 0)
            at_s += min(pause_s, longest_s) if self.config.speed > 1 else pause_s
            before_s = event.at_s
            yield event._replace(at_s=at_s)

    def _load(self) -> None:
        problems = []
        for key in self.keys:
            try:
                series = load(locate(self.base, self.config.files[str(key)]), key)
                self._instruments[key] = self._instrument(key, series)
                self._series[key] = series
            except Fault as fault:
                problems.append(str(fault))
        if problems:
            self._series.clear()
            raise ConfigError(problems)

    def _instrument(self, key: Key, series: Series) -> Instrument:
        given = _given(self.config, key)
        path = self.base / given if given else _beside(series.path)
        found = _described(path) if path.is_file() else None
        if given and not found:
            raise Fault(f"{path} tells nothing of an instrument: give a symbol file of PyneCore")
        if not found:
            found = infer(series, key)
            tick, hours = found.mintick, hours_of(found)
            log.info("%s has no symbol .toml: inferred a tick of %g, trading %s", series.path, tick, hours)
        return replace(found, timeframe=key.timeframe, source=f"replay:{series.digest[:12]}")


def _beside(path: Path) -> Path:
    """``x.toml`` for ``x.csv`` and for ``x.csv.gz``."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).with_suffix(".toml")


def _described(path: Path) -> Instrument | None:
    from ..bus.ohlcv import read_instrument  # loads PyneCore, which an inferred instrument does not need

    return read_instrument(path)


def _given(config: Replay.Config, key: Key) -> str:
    return config.syminfo if isinstance(config.syminfo, str) else config.syminfo.get(str(key), "")


def _faults(keys: Sequence[Key], config: Replay.Config) -> list[str]:
    streams = [str(key) for key in keys]
    given = config.syminfo if isinstance(config.syminfo, dict) else {}
    problems = [f"option 'files' lacks stream '{stream}'" for stream in streams if stream not in config.files]
    problems += [f"option 'files' names '{stream}', which is no stream of this producer"
                 for stream in config.files if stream not in streams]
    problems += [f"option 'syminfo' names '{stream}', which is no stream of this producer"
                 for stream in given if stream not in streams]
    problems += [f"option '{name}' is {value}: it cannot be negative"
                 for name, value in (("speed", config.speed), ("forming", config.forming)) if not value >= 0]
    if config.speed == inf:
        problems.append("option 'speed' is inf: use 0 for as fast as possible")
    return problems


def _missing(base: Path, config: Replay.Config) -> list[str]:
    """Files that are not there, or of no kind that can be played."""
    tomls = [config.syminfo] if isinstance(config.syminfo, str) else list(config.syminfo.values())
    problems = [f"option 'files': {file} is neither .ohlcv nor .csv nor .csv.gz"
                for file in config.files.values() if not file.lower().endswith((".ohlcv", ".csv", ".csv.gz"))]
    for file in config.files.values():
        try:
            if not (path := locate(base, file)).is_file():
                problems.append(f"option 'files': there is no file {path}")
        except Fault as fault:
            problems.append(f"option 'files': {fault}")
    return problems + [f"option 'syminfo': there is no file {base / file}" for file in tomls
                       if file and not (base / file).is_file()]
