"""What a laboratory's venue is told at its start; JSON, so that it can run in a process of its own."""

from __future__ import annotations

from typing import Any

import msgspec

from .faults import Fault


class MarketSpec(msgspec.Struct, frozen=True):
    """One market."""

    symbol: str
    """As ccxt writes it (``BTC/USDT``, ``AAPL``); the venue has its own notation."""
    timeframe: str = "1"
    """Of the true bars; longer ones are made of them."""
    source: str = "walk"
    """``walk`` (the demo's), ``aapl`` (daily) or the path of a CSV file with times in Unix ms."""
    history: int = 1000
    """Bars before the laboratory begins."""
    trades: int = 8
    """Executions in a bar, at most."""
    quiet: float = 0.0
    """The share of bars in which nobody trades."""


class Spec(msgspec.Struct):
    """A venue, its markets and what will go wrong with it."""

    venue: str
    markets: list[MarketSpec]
    seed: int = 7
    epoch_ms: int = 0
    """What time it was on the venue when it began; 0 is the machine's own time."""
    skew_ms: int = 0
    """How far the venue's clock is ahead."""
    ticks: int = 4
    """How often a bar is looked at while it forms."""
    faults: list[Fault] = []
    limits: dict[str, float] = {}
    """Other limits than the venue's real ones, by their names in its adapter."""
    options: dict[str, Any] = {}
    """What only this venue knows, such as a session's length."""
    log: str = ""
    """A file for the truth and the faults (JSON lines), written at the end."""
