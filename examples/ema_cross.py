"""@pyne

The crossing of two exponential averages: long above, short below.
"""
from pynecore.lib import close, color, input, plot, script, strategy, ta


@script.strategy("EMA cross", overlay=True, initial_capital=100_000,
                 default_qty_type=strategy.percent_of_equity, default_qty_value=10)
def main(
    fast=input.int(5, "Fast length", minval=1),
    slow=input.int(13, "Slow length", minval=2),
):
    quick = ta.ema(close, fast)
    steady = ta.ema(close, slow)

    if ta.crossover(quick, steady):
        strategy.entry("long", strategy.long)
    if ta.crossunder(quick, steady):
        strategy.entry("short", strategy.short)

    plot(quick, "fast", color=color.orange)
    plot(steady, "slow", color=color.blue)
