"""A market of the laboratory: what is true there at any instant, as bars, as the forming bar, and as trades.

A bar is cut into a few trades in a way that depends on nothing but the seed, the symbol and the bar's number. The
forming bar is the aggregate of the trades so far, and the aggregate of all of them is exactly the bar. So whoever
listens to bars, to trades or to the history hears the same story.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from .bars import Bars, Grid


class Row(NamedTuple):
    """A bar with what its trades say beyond OHLCV."""

    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote: float = 0.0
    """The turnover: sum of price times quantity."""
    trades: int = 0
    taker_base: float = 0.0
    """The volume that buyers took."""
    taker_quote: float = 0.0

    @property
    def vwap(self) -> float:
        """The mean price that was paid."""
        return self.quote / self.volume if self.volume else self.close


class Trade(NamedTuple):
    """One execution; ``id`` grows with time and is never used twice."""

    time_ms: int
    price: float
    quantity: float
    bought: bool
    id: int


class Market:
    """One symbol: everything that its venue could say about it."""

    def __init__(
        self, symbol: str, timeframe: str, bars: Bars, start_ms: int, history: int = 1000, trades: int = 8,
        quiet: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        """
        :param start_ms: when the laboratory begins; ``history`` bars are before it
        :param trades: of a bar, at most
        :param quiet: the share of bars in which nobody trades: they have no volume and stay at the close before
        """
        self.symbol, self.timeframe, self.start_ms = symbol, timeframe, start_ms
        self.price_digits, self.volume_digits = bars.price_digits, bars.volume_digits
        self.delisted_ms: int | None = None
        self._bars, self._trades, self._quiet, self._seed = bars, max(trades, 4), quiet, seed
        self._first = max(bars.index_at(start_ms) - history, bars.ends[0])
        self._rows: dict[int, Row] = {}
        self._cut: dict[int, list[Trade]] = {}
        self._revised: dict[int, list[Row]] = {}
        self._grids: dict[str, Grid] = {}

    # What the venue says ----------------------------------------------------------------------------------------

    def history(
        self, timeframe: str, now_ms: int, start_ms: int | None = None, end_ms: int | None = None, limit: int = 1000
    ) -> list[Row]:
        """The bars that open in a span (both ends count), oldest first; the one that forms now is the last.

        Of too many, those from ``start_ms`` on; without it, the last ones.
        """
        until_ms = min(now_ms, now_ms if end_ms is None else end_ms)
        if until_ms < self._bars.span(self._first)[0]:
            return []
        last = self._index(until_ms)
        if start_ms is None:
            first = last - (limit + 1) * self._grid(timeframe).bars_within
            return self._grouped(timeframe, first, last, now_ms)[-limit:]
        first = self._index(self._grid(timeframe).slot(start_ms - 1)[0]) if start_ms > 0 else self._first
        last = min(last, first + (limit + 2) * self._grid(timeframe).bars_within)
        return [row for row in self._grouped(timeframe, first, last, now_ms) if row.time_ms >= start_ms][:limit]

    def since(self, timeframe: str, open_ms: int, now_ms: int) -> list[tuple[Row, bool]]:
        """The bars that open at or after a time, each with whether it has closed."""
        rows = self._grouped(timeframe, self._index(open_ms), self._index(now_ms), now_ms)
        return [(row, self.closes_ms(timeframe, row.time_ms) <= now_ms) for row in rows if row.time_ms >= open_ms]

    def forming(self, timeframe: str, now_ms: int) -> Row | None:
        """The bar that forms now; None while the market is closed."""
        rows = self.since(timeframe, self._grid(timeframe).slot(now_ms)[0], now_ms)
        return next((row for row, closed in rows if not closed), None)

    def closes_ms(self, timeframe: str, time_ms: int) -> int:
        """When the bar closes that is open at a time."""
        return self._grid(timeframe).slot(time_ms)[1]

    def opens_ms(self, timeframe: str, time_ms: int) -> int:
        """When the bar has opened that is open at a time."""
        return self._grid(timeframe).slot(time_ms)[0]

    def trades(self, after_ms: int, until_ms: int) -> list[Trade]:
        """What was executed in a span, its end included."""
        until_ms = self._capped(until_ms)
        found: list[Trade] = []
        for index in range(self._index(after_ms), self._index(until_ms) + 1):
            found += [trade for trade in self._trades_of(index) if after_ms < trade.time_ms <= until_ms]
        return found

    def price(self, now_ms: int) -> float:
        """What was paid last."""
        index = self._index(self._capped(now_ms))
        return self._until(index, now_ms).close

    # What is true -----------------------------------------------------------------------------------------------

    def truth(self, timeframe: str, since_ms: int, now_ms: int) -> Iterator[tuple[int, Row]]:
        """Every bar that has closed, with its number of revision; revisions come right after what they revise."""
        for row, closed in self.since(timeframe, since_ms, now_ms):
            if not closed:
                return
            if timeframe != self.timeframe:
                yield 0, row
                continue
            index = self._index(row.time_ms)
            yield from enumerate([self._rows.get(index) or self._made(index), *self._revised.get(index, [])])

    def revise(self, now_ms: int, factor: float = 1.001) -> Row | None:
        """Change the close of the last closed bar; it is so in the history from now on. None if no bar has closed."""
        closed = [row for row, done in self.since(self.timeframe, self._opened_before(now_ms), now_ms) if done]
        if not closed:
            return None
        row = closed[-1]
        close = round(row.close * factor, self.price_digits)
        revised = row._replace(close=close, high=max(row.high, close), low=min(row.low, close))
        self._revised.setdefault(self._index(row.time_ms), []).append(revised)
        return revised

    def _opened_before(self, now_ms: int) -> int:
        return self._bars.span(max(self._index(now_ms) - 1, self._first))[0]

    def _capped(self, now_ms: int) -> int:
        return now_ms if self.delisted_ms is None else min(now_ms, self.delisted_ms)

    def _grid(self, timeframe: str) -> Grid:
        if timeframe not in self._grids:
            self._grids[timeframe] = self._bars.grid(timeframe)
        return self._grids[timeframe]

    def _index(self, time_ms: int) -> int:
        return min(max(self._bars.index_at(time_ms), self._first), self._bars.ends[1])

    def _grouped(self, timeframe: str, first: int, last: int, now_ms: int) -> list[Row]:
        now_ms = self._capped(now_ms)
        last = min(last, self._index(now_ms))
        rows = [self._until(index, now_ms) for index in range(max(first, self._first), last + 1)]
        if rows and rows[0].time_ms > now_ms:
            return []
        return rows if timeframe == self.timeframe else _joined(rows, self._grid(timeframe))

    def _until(self, index: int, now_ms: int) -> Row:
        """A bar as it is now: whole, or the aggregate of its trades so far."""
        open_ms, close_ms = self._bars.span(index)
        if close_ms <= now_ms:
            return self._revised[index][-1] if index in self._revised else self._whole(index)
        trades = [trade for trade in self._trades_of(index) if trade.time_ms <= now_ms]
        return _aggregate(open_ms, trades) if trades else self._whole(index)._replace(volume=0.0)

    # How it is made ---------------------------------------------------------------------------------------------

    def _whole(self, index: int) -> Row:
        row = self._rows.get(index)
        if row is None:
            if len(self._rows) > 2000:
                self._rows.clear()
            row = self._rows[index] = self._made(index)
        return row

    def _made(self, index: int) -> Row:
        open_ms, _ = self._bars.span(index)
        trades = self._trades_of(index)
        if not trades:  # nobody trades
            close = self._whole(index - 1).close if index > self._first else self._bars.bar(index)[0]
            return Row(open_ms, close, close, close, close, 0.0)
        return _aggregate(open_ms, trades)._replace(volume=self._bars.bar(index)[4])

    def _trades_of(self, index: int) -> list[Trade]:
        trades = self._cut.get(index)
        if trades is None:
            if len(self._cut) > 8:
                self._cut.clear()
            trades = self._cut[index] = self._cut_up(index)
        return trades

    def _cut_up(self, index: int) -> list[Trade]:
        luck = Random(f"{self._seed} {self.symbol} {index}")
        open_, high, low, close, volume = self._bars.bar(index)
        if volume <= 0 or luck.random() < self._quiet:
            return []
        count = luck.randint(4, self._trades)
        prices = [round(low + (high - low) * luck.random(), self.price_digits) for _ in range(count)]
        prices[0], prices[-1] = open_, close
        top, bottom = luck.sample(range(1, count - 1), 2)
        prices[top], prices[bottom] = high, low
        open_ms, close_ms = self._bars.span(index)
        moments = sorted(int(luck.random() * (close_ms - open_ms)) for _ in range(count))
        moments[0] = 0
        sizes = _shares(luck, count, volume, self.volume_digits)
        first_id = (index - self._first + 1) * self._trades
        return [
            Trade(open_ms + moment, price, size, luck.random() < 0.5, first_id + i)
            for i, (moment, price, size) in enumerate(zip(moments, prices, sizes, strict=True))
        ]


def _shares(luck: Random, count: int, whole: float, digits: int) -> list[float]:
    """Some amounts, each more than 0, that make the whole up to the last digit."""
    lots = round(whole * 10**digits)
    if lots < count:
        digits += 4
        lots = round(whole * 10**digits)
    left, shares = lots - count, []
    for i in range(count - 1, 0, -1):
        taken = int(left * luck.random() * 2 / (i + 1))
        left -= taken
        shares.append((taken + 1) / 10**digits)
    return [*shares, (left + 1) / 10**digits]


def _aggregate(open_ms: int, trades: list[Trade]) -> Row:
    prices = [trade.price for trade in trades]
    taken = [trade for trade in trades if trade.bought]
    return Row(
        open_ms, prices[0], max(prices), min(prices), prices[-1],
        _sum(t.quantity for t in trades), _sum(t.price * t.quantity for t in trades), len(trades),
        _sum(t.quantity for t in taken), _sum(t.price * t.quantity for t in taken),
    )  # fmt: skip


def _joined(rows: list[Row], grid: Grid) -> list[Row]:
    """The rows of a longer timeframe; one whose beginning is missing is left out."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(grid.slot(row.time_ms)[0], []).append(row)
    if rows and rows[0].time_ms not in groups:
        del groups[grid.slot(rows[0].time_ms)[0]]
    return [
        Row(
            open_ms, group[0].open, max(row.high for row in group), min(row.low for row in group), group[-1].close,
            _sum(row.volume for row in group), _sum(row.quote for row in group), sum(row.trades for row in group),
            _sum(row.taker_base for row in group), _sum(row.taker_quote for row in group),
        )
        for open_ms, group in groups.items()
    ]  # fmt: skip


def _sum(values: Iterable[float]) -> float:
    return round(sum(values), 9)
