"""The trial finds every broken promise, and nothing at ours; what `new-provider` writes passes it."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Bar, Instrument, Span
from pynelive.bus.names import Key
from pynelive.bus.ohlcv import BarFile, ohlcv_path
from pynelive.commands.new_provider import new_provider
from pynelive.producers.conformance import check
from pynelive.producers.contract import Capabilities, ConfigError, Disconnected, EndOfData, Provider, Update
from pynelive.producers.demo import Demo, expected_bars
from pynelive.producers.replay import Replay

KEY, MINUTE_MS = Key("BTC/USDT", "1"), 60_000
AROUND_THE_CLOCK = tuple(Span(day, 0, 86_399) for day in range(7))
CAN = Capabilities(history=True, forming=True, symbols=True, heals=True)


class Sound(Provider):
    """A venue of one symbol whose minutes last a twentieth of a second; it keeps every promise."""

    name: ClassVar[str] = "sound"
    capabilities = CAN

    @dataclass
    class Config:
        """Two options, both of which can be wrong."""

        size: int = 1
        depth: int = 1

    def __init__(self, config: Config) -> None:
        super().__init__([KEY], config)
        self._connected = False
        self._began = time.monotonic()
        if problems := [f"option '{name}' is negative" for name, value in vars(config).items() if value < 0]:
            raise ConfigError(problems)

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int((time.monotonic() - self._began) * 1200 * 1000)

    async def get_symbol_info(self, key: Key) -> Instrument:
        return Instrument(key.symbol, key.timeframe, opening_hours=AROUND_THE_CLOCK)

    async def connect(self) -> None:
        self._connected = True

    async def disconnect(self) -> None:
        self._connected = False

    @property
    def is_connected(self) -> bool:
        return self._connected

    async def watch(self) -> AsyncIterator[Update]:
        last_ms = self.now_ms() - MINUTE_MS
        while True:
            for bar in await self.latest(KEY, last_ms):
                last_ms = bar.time_ms if bar.closed else last_ms
                yield Update(KEY, bar)
            await asyncio.sleep(0.01)

    def bars(self, from_ms: int, to_ms: int) -> list[Bar]:
        first, now_ms = -(-from_ms // MINUTE_MS) * MINUTE_MS, self.now_ms()
        return [Bar(at, 10.0, 12.0, 8.0, 10 + at % 7 / 7, 5.0, closed=at + MINUTE_MS <= now_ms)
                for at in range(first, min(to_ms, now_ms), MINUTE_MS)]

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        return self.bars(since_ms + 1, self.now_ms())

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        return [bar for bar in await self.latest(key, since_ms) if bar.closed]

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        return [bar for bar in self.bars(from_ms, to_ms) if bar.closed]

    async def get_list_of_symbols(self) -> list[str]:
        return [KEY.symbol]


class Altered(Sound):
    """Yields what the sound one does, each bar altered."""

    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar]

    async def watch(self) -> AsyncIterator[Update]:
        async for update in super().watch():
            assert isinstance(update.message, Bar)
            for bar in self.altered(update.message):
                yield Update(KEY, bar)


class ClosesTwice(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar, bar]


class FormsAfterTheClose(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar, replace(bar, closed=False)]


class OffTheGrid(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [replace(bar, time_ms=bar.time_ms + 1)]


class HighBelowClose(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [replace(bar, high=9.0)]


class NotANumber(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [replace(bar, close=float("nan"))]


class ClosesEarly(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar] if bar.closed else [replace(bar, time_ms=bar.time_ms + 10 * MINUTE_MS, closed=True)]


class SaysOtherwiseLive(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [replace(bar, volume=4.0)]


class InventsBars(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar, Bar(bar.time_ms + MINUTE_MS, 1, 1, 1, 1, 0)] if bar.time_ms // MINUTE_MS % 2 else []

    def bars(self, from_ms: int, to_ms: int) -> list[Bar]:
        return [bar for bar in super().bars(from_ms, to_ms) if bar.time_ms // MINUTE_MS % 2]


class NeverForms(Altered):
    def altered(self, bar: Bar) -> Sequence[Bar]:
        return [bar] if bar.closed else []


class Unflagged(Sound):
    capabilities = Capabilities(history=True, forming=True, heals=True, flagged=False)


class SaysNothingOfForming(Sound):
    capabilities = Capabilities(history=True, heals=True)


class NoHistory(Sound):
    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        return []


class DoesNotHeal(Sound):
    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        return []


class NoSymbols(Sound):
    async def get_list_of_symbols(self) -> list[str]:
        return []


class TellsFromSince(Sound):
    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        return await super().backfill_closed_bars(key, since_ms // MINUTE_MS * MINUTE_MS - 1)


class TellsForming(Sound):
    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        told = await super().backfill_closed_bars(key, since_ms)
        return [*told, replace(told[-1], time_ms=told[-1].time_ms + 1440 * MINUTE_MS)]  # a busy machine sees that too


class TellsNewestFirst(Sound):
    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        return (await super().backfill_closed_bars(key, since_ms))[::-1]


class TellsOtherwise(Sound):
    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        return [replace(bar, volume=6.0) for bar in await super().backfill_closed_bars(key, since_ms)]


class GoesBeyond(Sound):
    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        return [bar for bar in self.bars(from_ms, to_ms + 2 * MINUTE_MS) if bar.closed]

    async def watch(self) -> AsyncIterator[Update]:
        async for update in super().watch():
            yield update
            await asyncio.sleep(0.2)  # so that there are later bars


class FormsEarlier(Sound):
    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        bars = await super().latest(key, since_ms)
        return [replace(bars[0], closed=False), *bars[1:]] if len(bars) > 10 else bars


class Talks(Sound):
    def __init__(self, config: Sound.Config) -> None:
        super().__init__(config)
        with closing(socket.socket()) as there, closing(socket.socket()) as here:
            there.bind(("127.0.0.1", 0))
            there.listen()
            here.connect(there.getsockname())


class AcceptsAnything(Sound):
    def __init__(self, config: Sound.Config) -> None:
        super().__init__(Sound.Config())


class NamesOneFault(Sound):
    def __init__(self, config: Sound.Config) -> None:
        try:
            super().__init__(config)
        except ConfigError as error:
            raise ConfigError(error.problems[:1]) from None


class OddGrid(Sound):
    async def get_symbol_info(self, key: Key) -> Instrument:
        return replace(await super().get_symbol_info(key), mintick=0.5)


class NoHours(Sound):
    async def get_symbol_info(self, key: Key) -> Instrument:
        return replace(await super().get_symbol_info(key), opening_hours=())


class Blocks(Sound):
    async def connect(self) -> None:
        await super().connect()
        time.sleep(1.5)  # noqa: ASYNC251 - that is what is found


class LeavesATask(Sound):
    async def connect(self) -> None:
        await super().connect()
        self.lost = asyncio.create_task(asyncio.sleep(20))


class StaysConnected(Sound):
    async def disconnect(self) -> None:
        pass


class DisconnectsOnce(Sound):
    async def disconnect(self) -> None:
        if not self._connected:
            raise Disconnected("there is no connection")
        await super().disconnect()


class SwallowsCancellation(Sound):
    async def watch(self) -> AsyncIterator[Update]:
        try:
            async for update in super().watch():
                yield update
        except asyncio.CancelledError:
            raise EndOfData("cancelled") from None
        finally:
            pass


class WorksOnce(Sound):
    async def watch(self) -> AsyncIterator[Update]:
        if vars(self).setdefault("watched", 0):
            raise OSError("used up")
        self.watched = 1
        async for update in super().watch():
            yield update


class JustEnds(Sound):
    async def watch(self) -> AsyncIterator[Update]:
        yield Update(KEY, self.bars(self.now_ms() - 2 * MINUTE_MS, self.now_ms())[0])


class OtherStreams(Sound):
    async def watch(self) -> AsyncIterator[Update]:
        async for update in super().watch():
            yield update
            yield update._replace(key=Key("ETH/USDT", "1"))


class RaisesAnything(Sound):
    async def connect(self) -> None:
        raise KeyError("token")


BREAKS = [
    (ClosesTwice, "order", "closed twice"),
    (FormsAfterTheClose, "order", "forming bar .* comes after the close"),
    (OffTheGrid, "grid", "off the grid"),
    (HighBelowClose, "values", "cannot be"),
    (NotANumber, "values", "no finite number"),
    (ClosesEarly, "early", "before it is over"),
    (SaysOtherwiseLive, "live", "live and is .* in the history"),
    (InventsBars, "live", "the history lacks it"),
    (NeverForms, "capabilities", "promises forming bars"),
    (Unflagged, "capabilities", "says? that it does not"),
    (SaysNothingOfForming, "capabilities", "do not say so"),
    (NoHistory, "capabilities", "download_ohlcv of the last 20 bars is not empty"),
    (DoesNotHeal, "capabilities", "backfill_closed_bars of the last 20 bars is not empty"),
    (NoSymbols, "capabilities", "gives none"),
    (TellsFromSince, "history", "was not asked for"),
    (TellsForming, "history", "still forming"),
    (TellsNewestFirst, "history", "not oldest first"),
    (TellsOtherwise, "live", "disagree"),
    (GoesBeyond, "history", "beyond the end"),
    (FormsEarlier, "latest", "not the last one"),
    (Talks, "constructor", "talks to the network"),
    (AcceptsAnything, "config", "are accepted"),
    (NamesOneFault, "config", "names one only"),
    (OddGrid, "instrument", "contradicts itself"),
    (NoHours, "instrument", "no opening_hours"),
    (Blocks, "blocking", r"connect\(\)"),
    (LeavesATask, "tasks", "leaves a task behind"),
    (StaysConnected, "connect", "true after disconnect"),
    (DisconnectsOnce, "answer", "a second disconnect"),
    (SwallowsCancellation, "cancel", "CancelledError"),
    (WorksOnce, "watch", "used up"),
    (JustEnds, "watch", "just ends"),
    (OtherStreams, "key", "none of its streams"),
    (RaisesAnything, "errors", "no error of the contract"),
]


def faulty(kind: type[Sound]) -> Sound:
    """One with two wrong options."""
    return kind(Sound.Config(size=-1, depth=-1))


async def test_a_sound_provider_is_found_sound() -> None:
    """Nothing is found where nothing is wrong."""
    assert await check(lambda: Sound(Sound.Config()), faulty=lambda: faulty(Sound), blocked_ms=1000) == []


@pytest.mark.parametrize(("kind", "rule", "said"), BREAKS, ids=[kind.__name__ for kind, _, _ in BREAKS])
async def test_each_break_is_found(kind: type[Sound], rule: str, said: str) -> None:
    """A provider that breaks one promise is told which."""
    findings = await check(
        lambda: kind(Sound.Config()), seconds=3, faulty=lambda: faulty(kind), blocked_ms=1000
    )
    assert [one for one in findings if one.rule == rule and re.search(said, one.said)], findings
    assert len(findings) <= 4, findings


async def test_the_demo_keeps_the_contract() -> None:
    """Round the clock and in sessions, at once and on its clock."""
    def demo(**options: float) -> Demo:
        return Demo([Key("BTC/USDT", "1"), Key("AAPL", "60")], Demo.Config(**options))  # type: ignore[arg-type]

    assert not await check(lambda: demo(speed=6000), faulty=lambda: demo(speed=-1, bars=-1), blocked_ms=1000)
    assert not await check(lambda: demo(speed=0, bars=30), bars=50, blocked_ms=1000)


async def test_the_replay_keeps_the_contract(tmp_path: Path) -> None:
    """A recording with its symbol's .toml."""
    path = ohlcv_path(tmp_path, f"demo:{KEY}")
    instrument = await Demo([KEY], Demo.Config()).get_symbol_info(KEY)
    with closing(BarFile(path, instrument)) as file:
        file.append(expected_bars(7, KEY, 0, 60))

    def replay(**options: object) -> Replay:
        given = {"files": {str(KEY): path.name}, "speed": 6000.0, "forming": 2, **options}
        return Replay([KEY], Replay.Config(**given), tmp_path)  # type: ignore[arg-type]

    assert not await check(replay, faulty=lambda: replay(files={}, speed=-1.0), blocked_ms=1000)


def test_a_new_provider_passes_its_test(tmp_path: Path) -> None:
    """What the command writes works as it is, where it is."""
    done = CliRunner().invoke(new_provider, ["acme-two", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert 'provider = "acme_two_provider.py"' in done.output
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider", "."]
    shell = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    tested = subprocess.run(command, cwd=tmp_path / "new", env=shell, capture_output=True, text=True, timeout=200)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout


@pytest.mark.parametrize(("name", "said"), [("Acme", "no name for streams"), ("demo", "is taken"), ("a b", "no name")])
def test_a_name_that_cannot_be_is_refused(name: str, said: str, tmp_path: Path) -> None:
    """Nothing is written for it."""
    done = CliRunner().invoke(new_provider, [name, str(tmp_path)])
    assert (done.exit_code, said in done.output, list(tmp_path.iterdir())) == (2, True, [])


def test_what_is_there_stays(tmp_path: Path) -> None:
    """Neither file is written if one is there."""
    (tmp_path / "test_acme_provider.py").write_text("mine")
    done = CliRunner().invoke(new_provider, ["acme", str(tmp_path)])
    assert isinstance(done.exception, Fault)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
