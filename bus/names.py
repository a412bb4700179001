"""The names of streams and timeframes.

A stream is named as PyneCore names a provider string: ``provider:symbol@timeframe``, where the symbol may
hold colons and slashes (``ccxt:BYBIT:BTC/USDT:USDT@1``). Inside one provider ``symbol@timeframe`` is enough;
that part is called the *key*. What a script says is the stream ``run:<name>``.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

_TIMEFRAME = re.compile(r"(\d*)([SDWM]?)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NO_NAME = "is no name: use letters, digits, - _ and . (at most 64, the first a letter or a digit)"
_UNIT_MS = {"S": 1_000, "": 60_000, "D": 86_400_000, "W": 604_800_000}


def is_name(text: str) -> bool:
    """Whether a bus, an actor or a host may be called so: it becomes the name of a file."""
    return bool(_NAME.fullmatch(text))


class Key(NamedTuple):
    """A symbol at a timeframe (TradingView's notation: ``30S``, ``1``, ``60``, ``1D``)."""

    symbol: str
    timeframe: str

    def __str__(self) -> str:
        return f"{self.symbol}@{self.timeframe}"


def parse_key(text: str) -> Key:
    """Split ``symbol@timeframe`` at its last ``@``.

    :raises ValueError: a part is missing or the timeframe is none
    """
    symbol, at, timeframe = text.rpartition("@")
    if not symbol:
        missing, example = ("symbol", "BTC/USDT") if at else ("timeframe", text or "BTC/USDT")
        raise ValueError(f"'{text}' names no {missing}: write SYMBOL@TIMEFRAME, such as {example}@1")
    timeframe_ms(timeframe)
    return Key(symbol, timeframe)


def timeframe_ms(timeframe: str) -> int:
    """The length of one bar in milliseconds; ``M`` (months) has none and is refused.

    :raises ValueError: not a timeframe in TradingView's notation
    """
    match = _TIMEFRAME.fullmatch(timeframe)
    if not (timeframe and match) or match[1].startswith("0") or match[2] not in _UNIT_MS:
        raise ValueError(f"'{timeframe}' is no timeframe: write minutes (1, 5, 60), or 30S, 1D, 1W")
    return int(match[1] or 1) * _UNIT_MS[match[2]]


def is_pattern(stream: str) -> bool:
    """Whether the name holds a wildcard (``*`` or ``?``) and so means any number of streams."""
    return "*" in stream or "?" in stream


def matches(stream: str, pattern: str) -> bool:
    """Whether the stream is meant by the pattern; ``*`` crosses every separator, brackets are plain text."""
    return fnmatchcase(stream, pattern.replace("[", "[[]"))
