"""@pyne

The relative strength index, with alerts where it leaves the middle.
"""
from pynecore.lib import alert, alertcondition, close, color, hline, input, plot, script, ta


@script.indicator("RSI")
def main(
    length=input.int(14, "Length", minval=1),
    upper=input.float(70.0, "Overbought"),
    lower=input.float(30.0, "Oversold"),
):
    rsi = ta.rsi(close, length)

    if ta.crossover(rsi, upper):
        alert("RSI is overbought", alert.freq_once_per_bar_close)
    if ta.crossunder(rsi, lower):
        alert("RSI is oversold", alert.freq_once_per_bar_close)
    alertcondition(ta.cross(rsi, 50), "RSI midline", "RSI is {{plot(\"RSI\")}} at {{close}}")

    plot(rsi, "RSI", color=color.purple)
    hline(upper, "overbought")
    hline(lower, "oversold")
