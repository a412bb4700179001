"""What venues say in their candle frames, before ccxt throws the half of it away: one small function a venue.

ccxt keeps six numbers of a candle; a frame says more: whether the bar is closed, when that was said, trades and taker
volumes. The formats are those that ccxt 4.5's own handlers and the venues' documentation show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A candle as its venue names it; ``closed`` is None where the venue does not say."""

    market: str
    """``spot`` or ``contract`` where the same symbol means both, else empty."""
    symbol: str
    interval: str
    time_ms: int
    values: tuple[float, ...]
    """Open, high, low, close and volume."""
    closed: bool | None = None
    event_ms: int = 0
    extra: dict[str, float | str] = {}  # noqa: RUF012 - read only


Tap = Callable[..., Iterable[Row]]
"""Called with the socket's address, the frame and what else ccxt's handler gets.

Raises ``LookupError``, ``TypeError`` or ``ValueError`` on a frame that is not as documented.
"""


def binance(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"e":"kline","E":ms,"s":"BTCUSDT","k":{"t","i":"1m","o","c","h","l","v","n","x":final,"q","V","Q"}}``."""
    k = frame["k"]
    market = "spot" if "/stream" in url or "demo-stream" in url else "contract"
    extra = _extra(quote_volume=k["q"], trades=k["n"], taker_base=k["V"], taker_quote=k["Q"])
    yield Row(market, k["s"], k["i"], int(k["t"]), _floats(k, "ohlcv"), bool(k["x"]), int(frame["E"]), extra)


def bybit(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"topic":"kline.1.BTCUSDT","ts":ms,"data":[{"start","open","close",…,"turnover","confirm":final}]}``."""
    _, interval, symbol = frame["topic"].split(".", 2)
    market = "spot" if "spot" in url else "contract"
    for k in frame["data"]:
        values = _floats(k, ("open", "high", "low", "close", "volume"))
        extra = _extra(quote_volume=k["turnover"])
        yield Row(market, symbol, interval, int(k["start"]), values, bool(k["confirm"]), int(frame["ts"]), extra)


def okx(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"arg":{"channel":"candle1m","instId"},"data":[[ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm]]}``, all strings.

    Of contracts (``BTC-USDT-SWAP``) ``vol`` counts contracts and ``volCcy`` coins.
    """
    symbol, interval = frame["arg"]["instId"], frame["arg"]["channel"].removeprefix("candle")
    for k in frame["data"]:
        values = _floats(k, (1, 2, 3, 4, 5 if symbol.count("-") == 1 else 6))
        closed = k[8] == "1" if len(k) > 8 else None
        extra = _extra(quote_volume=k[7]) if len(k) > 7 else {}
        yield Row("", symbol, interval, int(k[0]), values, closed, 0, extra)


def bitget(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"arg":{"instType","channel":"candle1m","instId"},"ts":ms,"data":[[ts,o,h,l,c,base,quote,usdt]]}``.

    Tokenized stocks: ``"arg":{"instType","topic":"kline","symbol","interval"}`` and rows
    ``{"start","open",…,"turnover"}``.
    """
    arg, event_ms = frame["arg"], int(frame["ts"])
    market = "spot" if arg["instType"].lower() == "spot" else "contract"
    for k in frame["data"]:
        if "topic" in arg:
            values, extra = _floats(k, ("open", "high", "low", "close", "volume")), _extra(quote_volume=k["turnover"])
            yield Row(market, arg["symbol"], arg["interval"], int(k["start"]), values, None, event_ms, extra)
        else:
            values, interval = _floats(k, (1, 2, 3, 4, 5)), arg["channel"].removeprefix("candle")
            yield Row(market, arg["instId"], interval, int(k[0]), values, None, event_ms, _extra(quote_volume=k[6]))


def kucoin(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"topic":"/market/candles:BTC-USDT_1min","data":{"candles":[s,o,c,h,l,base,quote],"time":ns}}``.

    Futures say ms, and their volume at place 6 (place 5 is wrong there, KuCoin says).
    """
    topic, _, interval = frame["topic"].rpartition("_")
    data, spot = frame["data"], "contractMarket" not in topic
    k = data["candles"]
    values = _floats(k, (1, 3, 4, 2, 5 if spot else 6))
    event_ms = int(data["time"]) // 1_000_000 if spot else int(data["time"])
    extra = _extra(quote_volume=k[6]) if spot else {}
    yield Row("", data["symbol"], interval, int(k[0]) * 1000, values, None, event_ms, extra)


def gate(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"time_ms","channel":"spot.candlesticks","result":{"t":s,"o","h","l","c","v","a","n":"1m_BTC_USDT","w"}}``.

    Contracts send a list of results, and count contracts in ``v`` and turnover in ``a``. On spot ``v`` is the turnover
    and ``a`` the volume (ccxt takes the turnover for the volume there; its history has it right). ``w`` says that the
    window is closed; Gate does not promise to send it, so it does not count as a flag.
    """
    spot = frame["channel"].startswith("spot.")
    results = frame["result"] if isinstance(frame["result"], list) else [frame["result"]]
    event_ms = int(frame.get("time_ms") or int(frame["time"]) * 1000)
    for k in results:
        interval, _, symbol = k["n"].partition("_")
        extra = _extra(quote_volume=k["v" if spot else "a"])
        values = _floats(k, "ohlca" if spot else "ohlcv")
        market = "spot" if spot else "contract"
        yield Row(market, symbol, interval, int(k["t"]) * 1000, values, None, event_ms, extra)


def mexc(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """Spot (protobuf, decoded): ``{"symbol","createTime","publicSpotKline":{"interval","windowStart":s,…}}``.

    Swap: ``{"symbol":"BTC_USDT","ts":ms,"data":{"interval":"Min1","t":s,"o","h","l","c","q":contracts,"a"}}``.
    """
    if "publicSpotKline" in frame:
        k = frame["publicSpotKline"]
        values = _floats(k, ("openingPrice", "highestPrice", "lowestPrice", "closingPrice", "volume"))
        start_s, event_ms, extra = k["windowStart"], frame["createTime"], _extra(quote_volume=k["amount"])
    else:
        k = frame["data"]
        values = _floats(k, "ohlcq")
        start_s, event_ms, extra = k["t"], frame["ts"], _extra(quote_volume=k["a"])
    yield Row("", frame["symbol"], k["interval"], int(start_s) * 1000, values, None, int(event_ms), extra)


def kraken(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"channel":"ohlc","timestamp","data":[{"symbol":"BTC/USD","open",…,"trades","vwap","interval_begin":iso}]}``."""
    event_ms = _iso_ms(frame["timestamp"]) if "timestamp" in frame else 0
    for k in frame["data"]:
        values = _floats(k, ("open", "high", "low", "close", "volume"))
        extra = _extra(trades=k["trades"], vwap=k["vwap"])
        begin_ms = _iso_ms(k["interval_begin"])
        yield Row("", k["symbol"], str(k["interval"]), begin_ms, values, None, event_ms, extra)


def htx(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """``{"ch":"market.btcusdt.kline.1min","ts":ms,"tick":{"id":s,"open",…,"amount":base,"vol":quote,"count"}}``."""
    _, symbol, _, interval = frame["ch"].split(".")
    k = frame["tick"]
    values = _floats(k, ("open", "high", "low", "close", "amount"))
    extra = _extra(quote_volume=k["vol"], trades=k["count"])
    yield Row("", symbol, interval, int(k["id"]) * 1000, values, None, int(frame["ts"]), extra)


def bingx(url: str, frame: Any, *_: Any) -> Iterator[Row]:
    """Spot: ``{"dataType":"BTC-USDT@kline_1min","data":{"E":ms,"K":{"t":ms,"o","h","l","c","v","q","n"}}}``.

    Linear swap: ``{"dataType":"BTC-USDT@kline_1m","data":[{"T":start ms,"o","h","l","c","v"}]}``; inverse swap:
    ``data`` is one such object with ``t``.
    """
    symbol, _, channel = frame["dataType"].partition("@")
    interval, data = channel.removeprefix("kline_"), frame["data"]
    if "swap" not in url:
        k = data["K"]
        extra = _extra(quote_volume=k["q"], trades=k["n"])
        yield Row("spot", symbol, interval, int(k["t"]), _floats(k, "ohlcv"), None, int(data["E"]), extra)
        return
    for k in data if isinstance(data, list) else [data]:
        yield Row("contract", symbol, interval, int(k.get("t") or k["T"]), _floats(k, "ohlcv"))


def bitfinex(url: str, frame: Any, subscription: Any, *_: Any) -> Iterator[Row]:
    """``[channel, [ms,open,close,high,low,volume]]``, or a list of such rows (newest first) for a beginning.

    What the channel is stands in its subscription: ``{"key":"trade:1m:tBTCUSD"}``.
    """
    _, interval, symbol = subscription["key"].split(":", 2)
    rows = frame[1] if frame[1] and isinstance(frame[1][0], list) else [frame[1]]
    for k in rows:
        yield Row("", symbol, interval, int(k[0]), _floats(k, (1, 3, 4, 2, 5)))


def binance_beyond(row: Any) -> dict[str, float | str]:
    """``[start, o, h, l, c, v, end, quote volume, trades, taker base, taker quote, "0"]``."""
    return _extra(quote_volume=row[7], trades=row[8], taker_base=row[9], taker_quote=row[10])


def bybit_beyond(row: Any) -> dict[str, float | str]:
    """``[start, o, h, l, c, volume, turnover]``."""
    return _extra(quote_volume=row[6])


def okx_beyond(row: Any) -> dict[str, float | str]:
    """As in the frames: ``[ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]``."""
    return _extra(quote_volume=row[7])


def kraken_beyond(row: Any) -> dict[str, float | str]:
    """``[start s, o, h, l, c, vwap, volume, count]``."""
    return _extra(trades=row[7], vwap=row[5])


def _floats(k: Any, names: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(k[name]) for name in names)


def _extra(**said: Any) -> dict[str, float | str]:
    return {name: float(value) for name, value in said.items()}


def _iso_ms(text: str) -> int:
    """Milliseconds of an ISO time with nanoseconds: ``2023-10-04T16:25:00.000000000Z``."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1000 + int(f"{fraction:0<3.3}")
