"""What a strategy's trades add up to, by PyneCore's names and rules, where a runner's engine does not say so itself."""

from __future__ import annotations

from msgspec import Struct

from ..bus.messages import Fill

Statistics = dict[str, float | str | None]


class Tally(Struct):
    """Some trades: all, the long or the short ones. ``lost`` is negative, as the largest loss is; ``percent`` is what
    each has earned of what was put into it, added up."""

    trades: int = 0
    winning: int = 0
    losing: int = 0
    won: float = 0.0
    lost: float = 0.0
    largest: float = 0.0
    smallest: float = 0.0
    percent: float = 0.0

    def add(self, profit: float, percent: float) -> None:
        """One more; what has earned nothing is neither won nor lost."""
        self.trades += 1
        self.winning += profit > 0
        self.losing += profit < 0
        self.won += max(profit, 0.0)
        self.lost += min(profit, 0.0)
        self.largest = max(self.largest, profit)
        self.smallest = min(self.smallest, profit)
        self.percent += percent


class Sides:
    """The long and the short trades of a run apart. PyneCore does not say how many of these have lost, and takes their
    mean profit in percent of the capital, where that of all is of what was put into each trade."""

    def __init__(self) -> None:
        self.long, self.short = Tally(), Tally()

    def add(self, size: float, profit: float, percent: float) -> None:
        """A trade was closed."""
        (self.long if size > 0 else self.short).add(profit, percent)

    def statistics(self) -> Statistics:
        """What PyneCore says otherwise, or not."""
        return {
            name: value for side, tally in (("Long", self.long), ("Short", self.short))
            for name, value in ((f"{side} Losing Trades", tally.losing),
                                (f"{side} Avg Trade %", _ratio(tally.percent, tally.trades)))
        }  # fmt: skip


class Figures:
    """The statistics of one run.

    :param capital: the equity at the start
    :param point: what a price of 1 is worth
    """

    def __init__(self, capital: float, point: float = 1.0) -> None:
        self._capital = self._peak = capital
        self._point = point
        self._all, self._sides = Tally(), Sides()
        self._commission = 0.0
        self._streak = self._wins = self._losses = 0
        self._drawdown = self._drawdown_share = 0.0
        self._told = 0

    def add(self, fill: Fill) -> None:
        """A trade was closed."""
        percent = 100 * _ratio(fill.profit, abs(fill.size) * fill.entry_price * self._point)
        self._all.add(fill.profit, percent)
        self._sides.add(fill.size, fill.profit, percent)
        self._commission += fill.commission
        sign = (fill.profit > 0) - (fill.profit < 0)
        self._streak = self._streak + sign if self._streak * sign > 0 else sign
        self._wins, self._losses = max(self._wins, self._streak), max(self._losses, -self._streak)

    def mark(self, realised: float, worst: float) -> None:
        """A bar is over: the equity without open profit, and the least that it was within the bar."""
        self._peak = max(self._peak, realised)
        below = self._peak - min(realised, worst)
        self._drawdown = max(self._drawdown, below)
        self._drawdown_share = max(self._drawdown_share, 100 * below / self._peak)

    def news(self, net_profit: float) -> Statistics:
        """The statistics where trades were closed since the last time, nothing otherwise."""
        if self._told == self._all.trades:
            return {}
        self._told = self._all.trades
        return self.statistics(net_profit)

    def statistics(self, net_profit: float) -> Statistics:
        """All of them; shares are of the capital."""
        every, long, short = self._all, self._sides.long, self._sides.short
        average_win, average_loss = _ratio(every.won, every.winning), _ratio(every.lost, every.losing)
        money = {
            "Net Profit": net_profit, "Gross Profit": every.won, "Gross Loss": -every.lost,
            **_sided("Long", long), **_sided("Short", short),
        }  # fmt: skip
        return {
            **money, **{f"{name} %": 100 * value / self._capital for name, value in money.items()},
            "Max Equity Drawdown": self._drawdown, "Max Equity Drawdown %": self._drawdown_share,
            "Profit Factor": _ratio(every.won, -every.lost), "Total Trades": every.trades,
            "Winning Trades": every.winning, "Losing Trades": every.losing,
            "Percent Profitable": 100 * _ratio(every.winning, every.trades),
            "Avg Trade": _ratio(net_profit, every.trades), "Avg Trade %": _ratio(every.percent, every.trades),
            "Long Avg Trade": _ratio(long.won + long.lost, long.trades),
            "Short Avg Trade": _ratio(short.won + short.lost, short.trades), "Avg Winning Trade": average_win,
            "Avg Losing Trade": average_loss, "Ratio Avg Win/Loss": abs(_ratio(average_win, average_loss)),
            "Largest Winning Trade": every.largest, "Largest Losing Trade": every.smallest,
            "Max Consecutive Wins": self._wins, "Max Consecutive Losses": self._losses,
            "Long Trades": long.trades, "Long Winning Trades": long.winning,
            "Short Trades": short.trades, "Short Winning Trades": short.winning,
            "Long Largest Winning Trade": long.largest, "Long Largest Losing Trade": long.smallest,
            "Short Largest Winning Trade": short.largest, "Short Largest Losing Trade": short.smallest,
            "Commission Paid": self._commission, **self._sides.statistics(),
        }  # fmt: skip


def _sided(side: str, tally: Tally) -> dict[str, float]:
    return {
        f"{side} Net Profit": tally.won + tally.lost,
        f"{side} Gross Profit": tally.won, f"{side} Gross Loss": tally.lost,
    }  # fmt: skip


def _ratio(part: float, whole: float) -> float:
    """0 where there is nothing to divide by, as PyneCore has it."""
    return part / whole if whole else 0.0
