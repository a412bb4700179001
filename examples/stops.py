"""@pyne

A breakout of the last bars' range, bought and sold with stop orders; each position has a stop and a target.
"""
from pynecore.lib import bar_index, high, input, low, plot, script, strategy, ta


@script.strategy("Breakout with stops", overlay=True, initial_capital=100_000,
                 default_qty_type=strategy.percent_of_equity, default_qty_value=10)
def main(
    length=input.int(10, "Range length", minval=2),
    risk=input.float(1.5, "Stop distance in ATR", minval=0.1),
    reward=input.float(2.5, "Target distance in ATR", minval=0.1),
):
    top = ta.highest(high, length)
    bottom = ta.lowest(low, length)
    atr = ta.atr(14)

    if strategy.position_size == 0 and bar_index > length:
        strategy.entry("long", strategy.long, stop=top)
        strategy.entry("short", strategy.short, stop=bottom)
    else:
        strategy.cancel("long")
        strategy.cancel("short")

    entry = strategy.position_avg_price
    strategy.exit("long exit", "long", stop=entry - risk * atr, limit=entry + reward * atr)
    strategy.exit("short exit", "short", stop=entry + risk * atr, limit=entry - reward * atr)

    plot(top, "top")
    plot(bottom, "bottom")
