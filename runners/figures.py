"""What a strategy's trades add up to, by PyneCore's names and rules, where a runner's engine does not say so itself."""

from __future__ import annotations

from msgspec import Struct

from ..bus.messages import Fill

Statistics = dict[str, float | str | None]


class Tally(Struct):
    """Some trades: all, the long or the short ones. ``lost`` is negative, as the largest loss is."""

    trades: int = 0
    winning: int = 0
    losing: int = 0
    won: float = 0.0
    lost: float = 0.0
    largest: float = 0.0
    smallest: float = 0.0

    def add(self, profit: float) -> None:
        """One more; what has earned nothing is neither won nor lost."""
        self.trades += 1
        self.winning += profit > 0
        self.losing += profit < 0
        self.won += max(profit, 0.0)
        self.lost += min(profit, 0.0)
        self.largest = max(self.largest, profit)
        self.smallest = min(self.smallest, profit)


class Figures:
    """The statistics of one run.

    :param capital: the equity at the start
    """

    def __init__(self, capital: float) -> None:
        self._capital = self._peak = capital
        self._all, self._long, self._short = Tally(), Tally(), Tally()
        self._commission = 0.0
        self._streak = self._wins = self._losses = 0
        self._drawdown = self._drawdown_share = 0.0
        self._told = 0

    def add(self, fill: Fill) -> None:
        """A trade was closed."""
        self._all.add(fill.profit)
        (self._long if fill.size > 0 else self._short).add(fill.profit)
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
        every = self._all
        average_win, average_loss = _ratio(every.won, every.winning), _ratio(every.lost, every.losing)
        money = {
            "Net Profit": net_profit, "Gross Profit": every.won, "Gross Loss": -every.lost,
            **_sided("Long", self._long), **_sided("Short", self._short),
        }  # fmt: skip
        return {
            **money, **{f"{name} %": 100 * value / self._capital for name, value in money.items()},
            "Max Equity Drawdown": self._drawdown, "Max Equity Drawdown %": self._drawdown_share,
            "Profit Factor": _ratio(every.won, -every.lost), "Total Trades": every.trades,
            "Winning Trades": every.winning, "Losing Trades": every.losing,
            "Percent Profitable": 100 * _ratio(every.winning, every.trades),
            "Avg Trade": _ratio(net_profit, every.trades), "Avg Winning Trade": average_win,
            "Avg Losing Trade": average_loss, "Ratio Avg Win/Loss": abs(_ratio(average_win, average_loss)),
            "Largest Winning Trade": every.largest, "Largest Losing Trade": every.smallest,
            "Max Consecutive Wins": self._wins, "Max Consecutive Losses": self._losses,
            "Long Trades": self._long.trades, "Long Winning Trades": self._long.winning,
            "Short Trades": self._short.trades, "Short Winning Trades": self._short.winning,
            "Long Largest Winning Trade": self._long.largest, "Long Largest Losing Trade": self._long.smallest,
            "Short Largest Winning Trade": self._short.largest, "Short Largest Losing Trade": self._short.smallest,
            "Commission Paid": self._commission,
        }  # fmt: skip


def _sided(side: str, tally: Tally) -> dict[str, float]:
    profit = tally.won + tally.lost
    return {
        f"{side} Net Profit": profit, f"{side} Gross Profit": tally.won, f"{side} Gross Loss": tally.lost,
        f"{side} Avg Trade": _ratio(profit, tally.trades),
    }  # fmt: skip


def _ratio(part: float, whole: float) -> float:
    """0 where there is nothing to divide by, as PyneCore has it."""
    return part / whole if whole else 0.0
