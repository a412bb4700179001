"""Which alerts of a script fire, and what they say: TradingView's rules, which PyneCore leaves to its host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from ..bus.messages import Alert, Instrument
from . import pynecore

_PLACEHOLDER = re.compile(
    r"""\{\{\s*(?:plot\(\s*["'](?P<title>.+?)["']\s*\)|plot_(?P<index>\d+)|(?P<name>[\w.]+))\s*\}\}"""
)


class Alerts:
    """The alerts of a script's current execution; on live bars only, as often as each may fire."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._fired: list[Alert] = []
        self._conditions: list[tuple[str, str]] = []
        self._once: tuple[int, set[object]] = (0, set())

    def call(self, message: str, freq: str, site: object) -> None:
        """``alert()`` was called at a place in the source."""
        if self._fires(freq, site):
            self._fired.append(Alert(pynecore.time_ms(), message, freq))

    def condition(self, title: str, message: str) -> None:
        """An ``alertcondition()`` holds; it fires at the bar's close, with the plots that it may name."""
        if self._fires("once_per_bar_close", (title, message)):  # once, though order fills may run the body again
            self._conditions.append((title, message))

    def filled(self, name: str, message: str) -> None:
        """An order was filled that has an ``alert_message``."""
        if message:
            self._fired.append(Alert(pynecore.time_ms(), message, "all", name))

    def take(self) -> list[Alert]:
        """What has fired since the last time."""
        fired, self._fired = self._fired, []
        return fired

    def take_conditions(self, candle: pynecore.OHLCV, plots: Mapping[str, object]) -> list[Alert]:
        """The conditions that held at a close."""
        conditions, self._conditions = self._conditions, []
        return [Alert(candle.timestamp, self._fill_in(message, candle, plots), "once_per_bar_close", title)
                for title, message in conditions]  # fmt: skip

    def _fires(self, freq: str, site: object) -> bool:
        if not pynecore.is_realtime():
            return False
        if freq == "once_per_bar_close" and not pynecore.is_confirmed():
            return False
        return freq == "all" or self._first_on_bar(site)

    def _first_on_bar(self, site: object) -> bool:
        time_ms = pynecore.time_ms()
        if self._once[0] != time_ms:
            self._once = (time_ms, set())
        sites = self._once[1]
        first = site not in sites
        sites.add(site)
        return first

    def _fill_in(self, message: str, candle: pynecore.OHLCV, plots: Mapping[str, object]) -> str:
        """Fill in TradingView's placeholders (``{{close}}``, ``{{plot("RSI")}}``); an unknown one stays."""
        values: dict[str, object] = {
            "open": candle.open, "high": candle.high, "low": candle.low, "close": candle.close,
            "volume": candle.volume, "time": clock(candle.timestamp), "ticker": self._instrument.ticker,
            "exchange": self._instrument.prefix, "interval": self._instrument.timeframe,
            "syminfo.currency": self._instrument.currency,
        }
        series = list(plots.values())

        def value(match: re.Match[str]) -> str:
            if match["title"]:
                return _number(plots[match["title"]]) if match["title"] in plots else match[0]
            if match["index"]:
                return _number(series[int(match["index"])]) if int(match["index"]) < len(series) else match[0]
            return _number(values[match["name"]]) if match["name"] in values else match[0]

        return _PLACEHOLDER.sub(value, message)


def _number(value: object) -> str:
    if value is None:
        return "NaN"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def clock(time_ms: int) -> str:
    """A time as placeholders and faults show it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
