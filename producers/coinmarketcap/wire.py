"""How CoinMarketCap speaks: prices and bars as it writes them, and the errors in its envelope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import time_ns
from typing import Any

import msgspec

from ...bus.messages import Bar
from .. import clock
from ..contract import ConfigError, Disconnected, Refused
from ..http import Http


class Quote(msgspec.Struct):
    """A price as it is now; ``volume_24h`` is a rolling total, so it says nothing about a bar.

    ``{"price":9283.92,"volume_24h":7155680000,"market_cap":158055024432,…,"last_updated":"2018-08-09T22:53:32.000Z"}``
    """

    price: float
    last_updated: datetime
    volume_24h: float | None = None
    market_cap: float | None = None

    @property
    def time_ms(self) -> int:
        """When the venue has seen it."""
        return round(self.last_updated.timestamp() * 1000)


class Candle(msgspec.Struct):
    """A bar of history: ``{"open":3849.2,"high":3947.9,"low":3817.4,"close":3943.4,"volume":5244856836,…}``."""

    open: float
    high: float
    low: float
    close: float
    volume: float | None = None
    market_cap: float | None = None

    def bar(self, time_ms: int) -> Bar:
        """The closed bar; its volume is turnover in the currency."""
        return Bar(time_ms, self.open, self.high, self.low, self.close, self.volume or 0.0, origin="backfill",
                   received_ns=time_ns(), extra=known(market_cap=self.market_cap))


class _Status(msgspec.Struct):
    error_code: int = 0
    error_message: str | None = None


class _Envelope(msgspec.Struct):
    status: _Status


class CoinHttp(Http):
    """The venue says in the body what is wrong, also with status 200.

    ``{"status":{"timestamp":…,"error_code":1008,"error_message":"You've exceeded your API Key's HTTP request rate
    limit. Rate limits reset every minute.","elapsed":10,"credit_count":0}}``
    """

    def _judged(self, place: str, status: int, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            said = msgspec.json.decode(body, type=_Envelope).status
        except msgspec.DecodeError:
            return super()._judged(place, status, body, headers)
        if said.error_code:
            self._refuse(place, said)
        return super()._judged(place, status, body, headers)

    def _refuse(self, place: str, said: _Status) -> None:
        code, reason = said.error_code, f"CoinMarketCap says {said.error_code}: {said.error_message or 'no reason'}"
        if code in (1001, 1002, 1003, 1004, 1005, 1007):
            raise ConfigError([f"option 'api_key' does not do. {reason}"])
        if code == 1006:
            raise Refused(f"the plan does not include {place} ({reason}): change the plan, or remove what needs it")
        if code in (1008, 1009, 1010, 1011):
            wait_s = 60.0 if code in (1008, 1011) else 86_400 - clock.now_ms() / 1000 % 86_400
            self._budget.hold(wait_s)
            raise Disconnected(reason, wait_s, "rate")
        if 400 <= code < 500:
            raise Refused(reason)
        raise Disconnected(f"{place}: {reason}")


def known(**values: float | None) -> dict[str, float | str] | None:
    """What is told of a bar beyond its prices."""
    return {name: value for name, value in values.items() if value is not None} or None
