"""The streams of a script's ``request.security``: found on the bus, followed, and handed over in the time of the bars.

A bar of the chart is executed when all that closed until then is here. Whether something is missing is said by the
streams themselves: by their next bar, forming or closed, by their state, or by their publisher, who was heard after
that time and had nothing more to say. So nothing is left out for being late, and nothing is waited for that is not due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ..bus.calls import Start
from ..bus.cursor import Cursor
from ..bus.errors import Hopeless
from ..bus.link import Link
from ..bus.messages import Bar, Instrument, Message, Told
from ..bus.rundir import RunDir
from ..bus.specs import RunnerSpec
from ..bus.subscriber import Place, Subscriber
from ..bus.symbols import stream_of, symbol_of
from ..bus.topology import Topology
from .contexts import Closes
from .requests import Asked, bars_before

log = logging.getLogger("pynelive")
_COMES_S = 3.0
_LOOK_S = 0.05
_SETTLE_MS = 5_000
"""So long after the close of a bar, by the clock on the wall, a venue has said it, or nobody has traded."""
_AWAY_S = 30.0
_MOST = 50_000
_PLAYED = ("demo", "replay")
_MANY = 32
"""So many bars that wait are handed over before the chart's: their publisher may wait for that."""


class Security:
    """What one script reads beside its chart.

    :param wake: called when bars of the chart that had to wait may be due now
    """

    def __init__(
        self, topology: Topology, spec: RunnerSpec, chart: Cursor, wake: Callable[[], None], from_head: bool
    ) -> None:
        assert chart.instrument
        self._topology, self._spec, self._chart = topology, spec, chart
        self._closes = Closes(chart.instrument)
        self._wake, self._from_head = wake, from_head
        self._run = RunDir(topology)
        self._subscriber: Subscriber | None = None
        self._found: dict[str, Instrument] = {}
        self._known: dict[str, int] = {}
        self._streams: dict[str, _Stream] = {}
        self._blocked: asyncio.TimerHandle | None = None
        self._due_ms = 0
        """When the chart's bar closes that had to wait last."""

    # --- before the first bar -------------------------------------------------------------------------------

    async def find(self, asked: Sequence[Asked]) -> dict[str, Instrument]:
        """The streams that are meant, when they are on the bus.

        :raises Hopeless: one is not, though all are that the topology declares; what to publish
        """
        scout = Subscriber(self._run, (), lambda *_: None)
        scout.open()
        try:
            latest = time.monotonic() + _COMES_S
            while missing := self._not_there(asked, there := scout.instruments()):
                if time.monotonic() > latest and self._complete(there) and scout.all_answered():
                    raise Hopeless(self._mend(missing[0], there))
                await asyncio.sleep(_LOOK_S)
        finally:
            await scout.close()
        found = {self._stream_of(each, there) for each in asked} - {None, self._chart.stream}
        self._found = {stream: there[stream] for stream in sorted(filter(None, found))}
        return self._found

    def _not_there(self, asked: Sequence[Asked], there: Mapping[str, Instrument]) -> list[Asked]:
        return [each for each in asked if each.sure and self._stream_of(each, there) is None]

    def _complete(self, there: Mapping[str, Instrument]) -> bool:
        """Whether all declared producers have begun all their streams."""
        producers = self._topology.producers
        return all(stream in there for producer in producers for stream in self._topology.published(producer))

    def _stream_of(self, asked: Asked, there: Mapping[str, Instrument]) -> str | None:
        own = self._chart.instrument
        assert own
        if asked.symbol is None or asked.timeframe is None:
            return None
        symbol, timeframe = asked.symbol, asked.timeframe or own.timeframe
        if symbol in ("", own.ticker, f"{own.prefix}:{own.ticker}"):
            symbol = symbol_of(self._chart.stream)
        return stream_of(symbol, timeframe, there, own.prefix)

    def _mend(self, asked: Asked, there: Mapping[str, Instrument]) -> str:
        """What is missing, and the line of the topology that would bring it."""
        where = f"the script {self._spec.script}, line {asked.line}"
        if asked.symbol is None or asked.timeframe is None:
            return (f"{where}: only a run could tell what this request.security asks for: let its symbol and timeframe "
                    "be constants or inputs")
        others = {self._stream_of(asked._replace(timeframe=name.rpartition("@")[2]), there) for name in there} - {None}
        for stream in sorted(filter(None, others)):
            for producer in self._topology.producers:
                if stream in self._topology.published(producer):
                    prefix = self._topology.prefixes.get(producer.name, producer.provider)
                    key = f"{symbol_of(stream).removeprefix(f'{prefix}:')}@{asked.timeframe}"
                    return (f'{where}: nobody publishes {prefix}:{key}: add "{key}" to streams of [[producer]] '
                            f"{producer.name}")
        names = ", ".join(sorted(there)[:8]) or "nothing yet"
        return (f"{where}: nobody publishes {asked.symbol}@{asked.timeframe}: add it to streams of a [[producer]]; "
                f"there is {names}")

    def know(self, stream: str, bar: Bar) -> None:
        """The script has been told of a bar, now or before it was started again."""
        self._known[stream] = bar.time_ms

    async def follow(self) -> None:
        """Follow the streams, each from the last bar that the script knows."""
        for stream, instrument in self._found.items():
            self._streams[stream] = _Stream(Closes(instrument), self._known.get(stream, 0))
        actor = self._spec.name.partition("/")[0]
        consumer = actor if self._spec.data else ""
        self._subscriber = Subscriber(
            self._run, list(self._found), self._take, self._begin, consumer, self._take_older, name=actor
        )
        self._subscriber.open()

    async def close(self) -> None:
        """Leave the bus."""
        if self._blocked:
            self._blocked.cancel()
        if self._subscriber:
            await self._subscriber.close()

    async def _begin(self, cursor: Cursor) -> Start:
        stream = self._streams[cursor.stream]
        stream.cursor = cursor
        if stream.last_ms:
            return Start(from_ms=stream.last_ms)
        before = min(bars_before(self._spec.history, self._chart.stream, cursor.stream), _MOST)
        return Start(last=before) if self._from_head else Start(older=before)

    # --- as the bars come -----------------------------------------------------------------------------------

    def _take(self, cursor: Cursor, messages: list[Message]) -> None:
        """Keep what comes; each with the place behind it, which is acknowledged when it was handed over."""
        stream = self._streams[cursor.stream]
        numbered = [not isinstance(message, Bar) or message.closed for message in messages]
        next_seq = cursor.next - sum(numbered)
        for message, has_number in zip(messages, numbered, strict=True):
            next_seq += has_number
            stream.note(message, (cursor.epoch, next_seq))
        self._wake()

    def _take_older(self, cursor: Cursor, messages: list[Message]) -> None:
        for message in messages:
            self._streams[cursor.stream].note(message, (0, 0))
        self._wake()

    def passed(self, bar: Bar) -> bool:
        """Whether all is here that closes until the chart's bar does; if not, ``wake`` is called later."""
        close_ms = self._closes.at(bar.time_ms)
        if all(self._has_passed(name, stream, close_ms) for name, stream in self._streams.items()):
            return True
        self._due_ms = close_ms
        if self._blocked is None:
            self._blocked = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)
        return False

    def _look_again(self) -> None:
        self._blocked = None
        self._wake()

    def take(self, bar: Bar) -> list[Told]:
        """What has closed until the chart's bar does, stream by stream; inside that bar of finer streams only."""
        close_ms, taken = self._closes.at(bar.time_ms), list[Told]()
        for name, stream in self._streams.items():
            if bar.closed or stream.closes.length_ms < self._closes.length_ms:
                over = stream.until(close_ms if bar.closed else close_ms - 1)
                taken += [Told(name, each, *place) for each, place in over]
        return taken

    def take_early(self, last_ms: int) -> list[Told]:
        """What will have closed inside the chart's next bar, of finer streams, where much of that waits: who publishes
        them may publish the chart too, and goes on when they are acknowledged.

        :param last_ms: the chart's last bar that was executed
        """
        finer = {name: each for name, each in self._streams.items() if each.closes.length_ms < self._closes.length_ms}
        if sum(each.waiting for each in finer.values()) < _MANY:
            return []
        return [Told(name, bar, *place) for name, stream in finer.items()
                for bar, place in stream.until(self._next_close(name, stream, last_ms) - 1)]  # fmt: skip

    def _next_close(self, name: str, stream: _Stream, last_ms: int) -> int:
        """When the chart's next bar closes at the earliest, as far as is known."""
        if last_ms:
            return max(self._closes.after(last_ms), self._due_ms)
        played = stream.origin in _PLAYED and self._has_chart(self._link(name))
        if not self._due_ms and played and self._chart.settled and not self._chart.missing:
            return stream.closes.at(stream.last_ms)  # by the order in which their publisher plays both
        return self._due_ms

    def ack(self) -> None:
        """What was taken is in the script's journal."""
        if self._subscriber and (taken := {name: each.taken for name, each in self._streams.items() if each.taken[0]}):
            self._subscriber.ack(taken)

    def _has_passed(self, name: str, stream: _Stream, close_ms: int) -> bool:
        """Whether a stream has nothing more to say that closes until then."""
        cursor = stream.cursor
        if cursor is None:
            return False
        if stream.next_close_ms > close_ms or (cursor.ended and cursor.settled):
            return True
        link = self._link(name)
        if cursor.silent:
            return time.monotonic() - link.heard > _AWAY_S
        if not cursor.settled:
            return False
        if stream.origin in _PLAYED:
            past = stream.origin == "replay" and self._has_chart(link) and self._chart_ms >= close_ms
        else:
            past = time.time() * 1000 >= close_ms + _SETTLE_MS or cursor.state in ("closed", "stale", "down")
        return past and link.heard > stream.past_since(close_ms)

    def _link(self, name: str) -> Link:
        assert self._subscriber
        return next(link for link in self._subscriber.links.values() if name in link.cursors)

    def _has_chart(self, link: Link) -> bool:
        """Whether this publisher plays the chart too, by one clock."""
        return link.welcome is not None and any(told.name == self._chart.stream for told in link.welcome.streams)

    @property
    def _chart_ms(self) -> int:
        return self._chart.last.time_ms if self._chart.last else 0


class _Stream:
    """One of the streams: its bars that were not handed over yet, and how far it is."""

    def __init__(self, closes: Closes, last_ms: int) -> None:
        self.closes = closes
        self.last_ms = last_ms
        """The last closed bar."""
        self.origin = ""
        self.cursor: Cursor | None = None
        self.next_close_ms = closes.after(last_ms) if last_ms else 0
        """When the next bar is over that may still come; 0 if nothing is known."""
        self.taken: Place = (0, 0)
        """Behind what was handed over."""
        self._past = (0, 0.0)
        self._waiting: deque[tuple[Bar | None, Place]] = deque()

    def note(self, message: Message, place: Place) -> None:
        """Keep a closed bar; a forming one says that all before it are here."""
        bar = message if isinstance(message, Bar) and message.origin != "fallback" else None
        if bar and bar.time_ms > self.last_ms:
            self.origin = bar.origin
            self.last_ms = bar.time_ms if bar.closed else self.last_ms
            self.next_close_ms = self.closes.after(bar.time_ms) if bar.closed else self.closes.at(bar.time_ms)
        else:
            bar = None
        if bar is None or bar.closed:
            self._waiting.append((bar, place))

    @property
    def waiting(self) -> int:
        """How much was not handed over yet."""
        return len(self._waiting)

    def past_since(self, close_ms: int) -> float:
        """Since when this is asked for that time (monotonic)."""
        if self._past[0] != close_ms:
            self._past = close_ms, time.monotonic()
        return self._past[1]

    def until(self, time_ms: int) -> list[tuple[Bar, Place]]:
        """The bars that are over by then, and are handed over now."""
        over = list[tuple[Bar, Place]]()
        while self._waiting:
            bar, place = self._waiting[0]
            if bar and self.closes.at(bar.time_ms) > time_ms:
                break
            self._waiting.popleft()
            self.taken = place
            if bar:
                over.append((bar, place))
        return over
