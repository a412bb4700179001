"""Does a provider keep the contract? A trial that any author of a provider can run, without a bus.

    findings = await check(lambda: MyProvider([Key("BTC/USDT", "1")], MyProvider.Config(url="…")))
    assert not findings

The provider is made, introduced, connected, watched, asked for history, cancelled, connected again and closed, and
every promise of ``contract.py`` that shows on the way is checked. Each finding is one sentence.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from ..bus.messages import Bar, Instrument
from ..bus.names import Key, timeframe_ms
from .contract import ConfigError, Disconnected, EndOfData, Provider, Refused
from .promises import Stream, odd

__all__ = ["Finding", "check"]

T = TypeVar("T")
_CONTRACT = (ConfigError, Disconnected, EndOfData, Refused)
_BACK = 20  # bars of history that are asked for
_CANCEL_S = 5.0
_SWEEP_S = 2.0
_LATE_S = 5.0  # how long a venue's history may lack a bar that its stream has closed
_BEAT_S = 0.01
_NETWORK = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen")


class Finding(NamedTuple):
    """A promise of the contract that was not kept."""

    rule: str
    said: str

    def __repr__(self) -> str:
        return f"{self.rule}: {self.said}"


async def check(
    make: Callable[[], Provider], *, bars: int = 3, seconds: float = 60.0,
    faulty: Callable[[], Provider] | None = None, blocked_ms: float = 100.0,
) -> list[Finding]:  # fmt: skip
    """Try a provider and say what is wrong with it; nothing is what an author wants.

    :param make: makes the provider as the feed would, anew whenever it is called; its source must be there
    :param bars: how many bars of each stream are waited for
    :param seconds: how long each step may take; longer than so many bars last
    :param faulty: makes the provider with two or more wrong options, to see whether it names all of them
    :param blocked_ms: how long the event loop may be held up
    """
    trial = _Trial(bars, seconds)
    if faulty:
        trial.refuse(faulty)
    if (provider := trial.construct(make)) is None:
        return trial.findings
    async with trial.unblocked(blocked_ms):
        await trial.play(provider)
        await trial.asked("close()", provider.close())
        await trial.swept("close()")
    return trial.findings


class _Trial:
    """One provider on trial, and what was found so far: each rule once a stream, or once a step."""

    def __init__(self, bars: int, seconds: float) -> None:
        self._bars = bars
        self._seconds = seconds
        self._found: dict[tuple[str, str], Finding] = {}
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())
        self._step = ""
        self._streams: dict[Key, Stream] = {}

    @property
    def findings(self) -> list[Finding]:
        return list(self._found.values())

    def find(self, rule: str, said: str, key: object = "") -> None:
        self._found.setdefault((rule, str(key) or self._step), Finding(rule, f"{key}: {said}" if key else said))

    def construct(self, make: Callable[[], Provider]) -> Provider | None:
        """Make it, without network and tasks."""
        try:
            with _no_network() as asked:
                provider = make()
        except ConfigError as error:
            self.find("constructor", f"it refuses the options that it was given: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - whatever a provider on trial raises is a finding
            self.find("constructor", f"it raises {_said(error)}, which is no error of the contract")
            return None
        if asked:
            self.find("constructor", f"it talks to the network ({asked[0]}), which is for connect()")
        if asyncio.all_tasks() - self._tasks:
            self.find("constructor", "it starts tasks, which is for connect()")
        return provider

    def refuse(self, faulty: Callable[[], Provider]) -> None:
        try:
            faulty()
        except ConfigError as error:
            if len(error.problems) < 2:
                self.find("config", f"of several wrong options it names one only: {error}")
        except Exception as error:  # noqa: BLE001 - see above
            self.find("config", f"wrong options raise {_said(error)} and not ConfigError")
        else:
            self.find("config", "wrong options are accepted: raise ConfigError in the constructor")

    async def play(self, provider: Provider) -> None:
        """The life of a provider, as the feed lives it."""
        await self.asked("check()", asyncio.to_thread(provider.check))
        for key in provider.keys:
            instrument = await self.asked(f"get_symbol_info({key})", provider.get_symbol_info(key))
            if isinstance(instrument, Instrument):
                for said in odd(instrument, key):
                    self.find("instrument", said, key)
                self._streams[key] = Stream(key, instrument, provider)
        if len(self._streams) < len(provider.keys):
            return
        if not await self.watched(provider):
            return
        for stream in self._streams.values():
            await self.remembered(provider, stream)
        await self.listed(provider)
        await self.cancelled(provider)

    async def watched(self, provider: Provider) -> bool:
        """Connect, watch until there are enough bars, disconnect; whether there was a connection at all."""
        if not await self.connected(provider):
            return False
        await self.ended(self.follow(provider, lambda: all(s.count >= self._bars for s in self._streams.values())))
        await self.disconnected(provider)
        for stream in self._streams.values():
            if stream.count < self._bars and not stream.over:
                self.find("watch", f"only {stream.count} of {self._bars} bars in {self._seconds:g} s", stream.key)
            for rule, said in stream.promises():
                self.find(rule, said, stream.key)
        return True

    async def cancelled(self, provider: Provider) -> None:
        """Cancelled in the midst of it, it stops at once, leaves nothing behind and can begin anew."""
        for stream in self._streams.values():
            stream.begin()
        if await self.connected(provider):
            seen = asyncio.Event()
            task = asyncio.create_task(self.follow(provider, seen.set))
            first = asyncio.create_task(seen.wait())
            await asyncio.wait([task, first], timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
            if not task.done():
                await self.cut(task)
            elif not isinstance(error := task.exception(), EndOfData):
                self.find("watch", f"watch() raises {_said(error)} after a second connect()")
            await self.disconnected(provider)

    async def connected(self, provider: Provider) -> bool:
        before = self._failures
        await self.asked("connect()", provider.connect())
        if self._failures > before:
            return False
        if not provider.is_connected:
            self.find("connect", "is_connected is false after connect()")
        return True

    @property
    def _failures(self) -> int:
        """How much has failed; what holds up the loop goes on all the same."""
        return sum(finding.rule != "blocking" for finding in self.findings)

    async def disconnected(self, provider: Provider) -> None:
        for call in ("disconnect()", "a second disconnect()"):
            await self.asked(call, provider.disconnect())
        if provider.is_connected:
            self.find("connect", "is_connected is true after disconnect()")
        await self.swept("disconnect()")

    async def follow(self, provider: Provider, enough: Callable[[], object]) -> None:
        self._step = "watch()"
        updates = provider.watch()
        try:
            async for update in updates:
                stream = self._streams.get(update.key)
                if stream is None:
                    self.find("key", f"watch() yields {update.key}, which is none of its streams")
                    continue
                for rule, said in stream.judge(update.message):
                    self.find(rule, said, update.key)
                if enough():
                    return
            self.find("watch", "watch() just ends: raise EndOfData or Disconnected")
        finally:
            if aclose := getattr(updates, "aclose", None):
                await aclose()

    async def ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``follow``, in its time, and say how it has ended."""
        task = asyncio.create_task(work)
        if not (await asyncio.wait([task], timeout=self._seconds))[0]:
            await self.cut(task)  # what has not come in time is said by the streams
        elif (error := task.exception()) is None:
            pass
        elif isinstance(error, EndOfData):
            for stream in self._streams.values():
                stream.over = True
        else:
            what = "" if isinstance(error, _CONTRACT) else ", which is no error of the contract"
            self.find("watch", f"watch() raises {_said(error)}{what}")

    async def cut(self, task: asyncio.Task[None]) -> None:
        """Cancel ``follow``, which must end at once, and by that."""
        task.cancel()
        if not (await asyncio.wait([task], timeout=_CANCEL_S))[0]:
            self.find("cancel", f"watch() goes on {_CANCEL_S:g} s after it was cancelled")
        elif not task.cancelled():
            self.find("cancel", "watch() does not let CancelledError through")

    async def remembered(self, provider: Provider, stream: Stream) -> None:
        """History is complete, of closed bars only, and the same however it is asked for."""
        key, can = stream.key, provider.capabilities
        length_ms = timeframe_ms(key.timeframe)
        last_ms = max(stream.closed, default=provider.now_ms() // length_ms * length_ms - length_ms)
        since_ms = last_ms - _BACK * length_ms
        told, got = await self.told(provider, stream, since_ms, last_ms)
        for promised, name, bars in ((can.history, "download_ohlcv", got), (can.heals, "backfill_closed_bars", told)):
            if promised and not bars:
                self.find("capabilities", f"by its capabilities {name} of the last {_BACK} bars is not empty", key)
            for rule, said in stream.history_faults(name, bars, since_ms):
                self.find(rule, said, key)
        for said in stream.contradictions(told, got, since_ms):
            self.find("live", said, key)

    async def told(
        self, provider: Provider, stream: Stream, since_ms: int, last_ms: int
    ) -> tuple[list[Bar], list[Bar]]:
        """What both questions say; they are repeated while the history lags behind the stream."""
        key, length_ms, can = stream.key, timeframe_ms(stream.key.timeframe), provider.capabilities
        told, got = list[Bar](), list[Bar]()
        deadline = asyncio.get_running_loop().time() + min(_LATE_S, self._seconds)
        while True:
            if can.heals:
                told = await self.asked("backfill_closed_bars()", provider.backfill_closed_bars(key, since_ms)) or []
                now = await self.asked("latest()", provider.latest(key, since_ms)) or []
                for said in stream.latest_faults(now, told):
                    self.find("latest", said, key)
            if can.history:
                to_ms = last_ms + length_ms
                got = await self.asked("download_ohlcv()", provider.download_ohlcv(key, since_ms + 1, to_ms)) or []
                if [bar for bar in got if bar.time_ms >= to_ms]:
                    self.find("history", "download_ohlcv goes on beyond the end that it was given", key)
            known = {bar.time_ms for bar in (*told, *got)}
            if stream.known_from(since_ms) <= known or asyncio.get_running_loop().time() > deadline:
                return told, got
            await asyncio.sleep(0.25)

    async def listed(self, provider: Provider) -> None:
        if provider.capabilities.symbols:
            found = await self.asked("get_list_of_symbols()", provider.get_list_of_symbols())
            if not found or not all(isinstance(symbol, str) and symbol for symbol in found):
                self.find("capabilities", "it promises symbols, and get_list_of_symbols() gives none")

    async def asked(self, what: str, answer: Coroutine[Any, Any, T]) -> T | None:
        """An answer in time, or a finding."""
        self._step = what
        task = asyncio.create_task(answer)
        if not (await asyncio.wait([task], timeout=self._seconds))[0]:
            self.find("answer", f"{what} has not answered in {self._seconds:g} s")
            task.cancel()
            await asyncio.wait([task], timeout=_CANCEL_S)
        elif task.cancelled():
            self.find("errors", f"{what} raises CancelledError by itself")
        elif isinstance(error := task.exception(), _CONTRACT):
            self.find("answer", f"{what} raises {_said(error)}")
        elif error:
            self.find("errors", f"{what} raises {_said(error)}, which is no error of the contract")
        else:
            return task.result()
        return None

    async def swept(self, after: str) -> None:
        """No task of the provider is left, nor, at the end, a thread that would keep the process alive."""
        left = asyncio.all_tasks() - self._tasks - {self._pulse, asyncio.current_task()}
        _, left = await asyncio.wait(left, timeout=_SWEEP_S) if left else (left, left)
        self._tasks |= left
        for task in left:
            self.find("tasks", f"{after} leaves a task behind: {getattr(task.get_coro(), '__qualname__', task)}")
        if after == "close()":
            for thread in set(threading.enumerate()) - self._threads:
                if not thread.daemon and not thread.name.startswith("asyncio_"):
                    self.find("tasks", f"close() leaves the thread '{thread.name}' behind")

    @asynccontextmanager
    async def unblocked(self, limit_ms: float) -> AsyncIterator[None]:
        """Measure what holds up the event loop; waiting for a processor is not the provider's fault."""
        self._pulse = asyncio.create_task(self._beat(limit_ms))
        try:
            yield
        finally:
            self._pulse.cancel()
            await asyncio.wait([self._pulse])

    async def _beat(self, limit_ms: float) -> None:
        now = asyncio.get_running_loop().time
        while True:
            before, waited = now(), _queued_s()
            await asyncio.sleep(_BEAT_S)
            blocked_ms = (now() - before - _BEAT_S - (_queued_s() - waited)) * 1000
            if blocked_ms > limit_ms:
                self.find("blocking", f"the event loop was blocked for {blocked_ms:.0f} ms in {self._step}: "
                                      "give slow work to asyncio.to_thread")  # fmt: skip


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """What is asked of the network meanwhile, by Python's audit events."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    asked: list[str] = []
    token = _listening.set(asked)
    try:
        yield asked
    finally:
        _listening.reset(token)


_hooked: list[bool] = []  # a hook stays for the life of the process
_listening: ContextVar[list[str] | None] = ContextVar("listening", default=None)


def _audit(event: str, _args: object) -> None:
    if event in _NETWORK and (asked := _listening.get(None)) is not None:
        asked.append(event)


def _queued_s() -> float:
    """How long this thread was ready and has waited for a processor, and this machine, if it is a virtual one, for
    its host; 0 where the system does not say."""
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/schedstat") as mine, open("/proc/stat") as all_:
            return int(mine.read().split()[1]) / 1e9 + int(all_.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
