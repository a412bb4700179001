# SPDX-License-Identifier: AGPL-3.0-or-later
"""``options`` of a runner: the broker that the strategy believes in, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class Settings:
    """The first seven are ``Backtest``'s own, with its defaults; the rest says how the strategy runs live."""

    cash: float = 10_000.0
    spread: float = 0.0
    commission: float | tuple[float, float] = 0.0
    margin: float = 1.0
    trade_on_close: bool = False
    hedging: bool = False
    exclusive_orders: bool = False
    start: Literal["flat", "replay"] = "flat"
    """What history is for: indicators alone, or trades too, as in a backtest."""
    lookback: int = 0
    """Decide nothing on fewer bars; 0: the script's ``LOOKBACK``, else as soon as all indicators have values."""
    window: int = 20_000
    """On how many of the last bars ``init()`` is run anew; older values stay as they were."""
    allow_lookahead: bool = False
    """Run a strategy whose past values change with what comes later."""
    on_stop: Literal["keep", "flatten"] = "keep"
    """What becomes of an open position when the stream is over."""
    strategy: str = ""
    """The class, where the script has several."""

    @property
    def broker(self) -> dict[str, Any]:
        """The keywords of the library's broker."""
        names = ("cash", "spread", "commission", "margin", "trade_on_close", "hedging", "exclusive_orders")
        return {name: getattr(self, name) for name in names}
