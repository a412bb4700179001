"""@pyne

Every kind of plot and drawing: averages, bands and marks on the chart, an oscillator in a pane of its own.
"""
from pynecore import Persistent, Series
from pynecore.lib import (
    array, bar_index, barcolor, barstate, bgcolor, box, chart, close, color, display, extend, fill, high, hline,
    input, label, line, linefill, location, low, math, minute, na, open, plot, plotarrow, plotbar, plotcandle, plotchar,
    plotshape, polyline, position, script, shape, size, string, ta, table, text, time, volume, xloc, yloc,
)


@script.indicator("Showcase", overlay=False, max_lines_count=60, max_labels_count=40, max_boxes_count=10,
                  max_polylines_count=10)
def main(
    length=input.int(20, "Length", minval=2),
    swing=input.int(6, "Bars on either side of a swing", minval=1),
):
    # --- on the chart -------------------------------------------------------------------------------------------
    middle: Series[float] = ta.sma(close, length)
    spread = ta.stdev(close, length) * 2
    rising = middle >= middle[1]
    plot(middle, "average", color=color.green if rising else color.red, linewidth=2, force_overlay=True)
    upper = plot(middle + spread, "upper", color=color.new(color.blue, 40), force_overlay=True)
    lower = plot(middle - spread, "lower", color=color.new(color.blue, 40), force_overlay=True)
    fill(upper, lower, color=color.new(color.blue, 92), title="band")
    wide = spread > ta.sma(spread, length)
    plot(ta.ema(close, 34) if wide else na, "while wide", color=color.orange, linewidth=3, style=plot.style_linebr,
         force_overlay=True)
    floor = ta.lowest(low, length)
    ceiling = ta.highest(high, length)
    plot(floor, "floor", color=color.teal, style=plot.style_stepline, force_overlay=True)
    plot(ceiling, "ceiling", color=color.maroon, style=plot.style_stepline_diamond, force_overlay=True)
    plot(ta.ema(close, 8), "displaced", color=color.fuchsia, offset=5, force_overlay=True)
    plot(close if bar_index % 10 == 0 else na, "every tenth", color=color.yellow, linewidth=4,
         style=plot.style_circles, force_overlay=True)
    plot(low if bar_index % 10 == 5 else na, "crosses", color=color.aqua, linewidth=4, style=plot.style_cross,
         force_overlay=True)
    plot(close, "last", color=color.gray, trackprice=True, show_last=1, force_overlay=True)
    plot(volume, "unseen", display=display.none)

    crossed_up = ta.crossover(close, middle)
    crossed_down = ta.crossunder(close, middle)
    plotshape(crossed_up, "up", shape.labelup, location.belowbar, color.green, text="up", textcolor=color.white,
              size=size.small, force_overlay=True)
    plotshape(crossed_down, "down", shape.labeldown, location.abovebar, color.red, text="down", textcolor=color.white,
              size=size.small, force_overlay=True)
    plotshape(bar_index % 20 == 0, "top", shape.diamond, location.top, color.purple, size=size.tiny,
              force_overlay=True)
    plotshape(bar_index % 20 == 10, "bottom", shape.circle, location.bottom, color.lime, size=size.tiny,
              force_overlay=True)
    plotchar(ta.rising(volume, 2), "volume rises", "▲", location.belowbar, color.orange, size=size.tiny,
             force_overlay=True)
    leap = close - open
    plotarrow(leap if math.abs(leap) > ta.stdev(leap, length) * 2 else na, "leap", color.lime, color.maroon,
              minheight=12, maxheight=40, force_overlay=True)
    bgcolor(color.new(color.yellow, 93) if minute < 10 else na, title="first minutes", force_overlay=True)
    barcolor(color.yellow if high > high[1] and low < low[1] else na, title="outside bar")

    # --- drawings -----------------------------------------------------------------------------------------------
    ray: Persistent = line.new(bar_index, close, bar_index + 1, close, color=color.silver, style=line.style_dashed,
                               extend=extend.right, force_overlay=True)
    rail: Persistent = line.new(bar_index, close, bar_index + 1, close, color=color.silver, style=line.style_dashed,
                                extend=extend.right, force_overlay=True)
    range_box: Persistent = box.new(bar_index, high, bar_index, low, border_color=color.new(color.blue, 30),
                                    border_style=line.style_dotted, bgcolor=color.new(color.blue, 85),
                                    text="range", text_color=color.blue, text_size=size.normal,
                                    text_valign=text.align_top, text_halign=text.align_right, force_overlay=True)
    tip: Persistent = label.new(bar_index, close, "", style=label.style_label_left, color=color.navy,
                                textcolor=color.white, size=size.normal, force_overlay=True)
    board: Persistent = table.new(position.top_right, 2, 4, bgcolor=color.new(color.black, 30),
                                  frame_color=color.gray, frame_width=1, border_color=color.new(color.gray, 60),
                                  border_width=1, force_overlay=True)
    pane_board: Persistent = table.new(position.bottom_right, 1, 1, bgcolor=color.new(color.teal, 40))
    if bar_index == 0:
        linefill.new(ray, rail, color.new(color.silver, 88))
        table.cell(board, 0, 0, "Showcase", text_color=color.white, bgcolor=color.new(color.navy, 20))
        table.merge_cells(board, 0, 0, 1, 0)

    peak = ta.pivothigh(high, swing, swing)
    trough = ta.pivotlow(low, swing, swing)
    if not na(peak):
        label.new(bar_index - swing, peak, string.tostring(peak, "#.00"), style=label.style_label_down,
                  color=color.new(color.red, 20), textcolor=color.white, size=size.small, tooltip="a swing's high",
                  force_overlay=True)
        line.new(bar_index - swing, peak, bar_index, peak, color=color.red, style=line.style_arrow_right,
                 force_overlay=True)
    if not na(trough):
        label.new(bar_index - swing, low[swing], "", yloc=yloc.belowbar, style=label.style_triangleup,
                  color=color.green, size=size.tiny, force_overlay=True)
        line.new(time - swing * 60_000, trough, time, trough, xloc=xloc.bar_time, color=color.green, width=2,
                 force_overlay=True)
    if bar_index % 60 == 59:
        box.new(bar_index - 10, ceiling, bar_index, floor, border_color=color.purple, border_width=2,
                bgcolor=color.new(color.purple, 88), text="box " + string.tostring(bar_index),
                text_color=color.purple, text_size=size.small, text_wrap=text.wrap_auto, force_overlay=True)
        points = array.from_items(
            chart.point.from_index(bar_index - 20, ceiling), chart.point.from_index(bar_index - 10, floor),
            chart.point.from_index(bar_index, ceiling),
        )
        polyline.new(points, curved=True, line_color=color.fuchsia, line_width=2, force_overlay=True)
        corners = array.from_items(
            chart.point.from_index(bar_index - 40, close), chart.point.from_index(bar_index - 34, high),
            chart.point.from_index(bar_index - 30, low),
        )
        polyline.new(corners, closed=True, line_color=color.olive, fill_color=color.new(color.olive, 70),
                     force_overlay=True)

    line.set_xy1(ray, bar_index - length, ceiling)
    line.set_xy2(ray, bar_index, middle + spread)
    line.set_xy1(rail, bar_index - length, floor)
    line.set_xy2(rail, bar_index, middle - spread)
    box.set_lefttop(range_box, bar_index - length, ceiling)
    box.set_rightbottom(range_box, bar_index + 5, floor)
    label.set_xy(tip, bar_index + 6, close)
    label.set_text(tip, string.tostring(close, "#.00"))

    # --- in the pane --------------------------------------------------------------------------------------------
    rsi: Series[float] = ta.rsi(close, 14)
    calm = ta.sma(rsi, 9)
    bgcolor(color.new(color.red, 88) if rsi > 75 else color.new(color.green, 88) if rsi < 25 else na, title="extremes")
    over = hline(70, "overbought", color=color.gray, linestyle=hline.style_dashed)
    hline(50, "middle", color=color.gray, linestyle=hline.style_dotted)
    under = hline(30, "oversold", color=color.gray, linestyle=hline.style_dashed)
    fill(over, under, color=color.new(color.purple, 93), title="corridor")
    strength = plot(rsi, "rsi", color=color.purple, linewidth=2)
    smooth = plot(calm, "calm", color=color.yellow)
    fill(strength, smooth, 80, 20, color.new(color.lime, 30), color.new(color.red, 30), "lead")
    momentum = rsi - rsi[3]
    plot(8 + momentum / 1.5, "momentum", histbase=8, style=plot.style_columns,
         color=color.new(color.green if momentum >= 0 else color.red, 30))
    plot(-60 + momentum, "ticks", histbase=-60, color=color.aqua, linewidth=2, style=plot.style_histogram)
    plot(-20 + volume / ta.highest(volume, 50) * 15, "activity", histbase=-20, color=color.new(color.blue, 60),
         style=plot.style_area)
    plot(-40 + calm / 8 if calm > 50 else na, "strong", histbase=-40, color=color.new(color.orange, 50),
         style=plot.style_areabr)
    side = color.green if rsi >= rsi[1] else color.red
    plotcandle(rsi[1] + 50, math.max(rsi, rsi[1]) + 54, math.min(rsi, rsi[1]) + 46, rsi + 50, "candles", color=side,
               wickcolor=color.gray, bordercolor=side)
    plotbar(rsi[1] + 90, math.max(rsi, rsi[1]) + 92, math.min(rsi, rsi[1]) + 88, rsi + 90, "bars", color=color.blue)
    plotshape(calm if ta.cross(rsi, calm) else na, "cross", shape.xcross, location.absolute, color.white,
              size=size.tiny)

    if barstate.islast:
        lines = ["close", "average", "rsi"]
        for row in range(3):
            value = close if row == 0 else middle if row == 1 else rsi
            table.cell(board, 0, row + 1, lines[row], text_color=color.silver, text_halign=text.align_left,
                       text_size=size.small)
            table.cell(board, 1, row + 1, string.tostring(value, "#.00"), text_color=color.white,
                       text_halign=text.align_right, text_size=size.small)
        table.cell(pane_board, 0, 0, "RSI " + string.tostring(rsi, "#.0"), text_color=color.white,
                   text_size=size.small, tooltip="the latest value")
