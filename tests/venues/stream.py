"""The stream of a channel: what is said at each tick, and what the fault plan makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from .faults import ROW_KINDS, STREAM_KINDS, TRADE_KINDS, Fault
from .line import Channel
from .market import Row
from .tamper import holed, tampered

if TYPE_CHECKING:
    from .server import Venue


async def emit(venue: Venue, channel: Channel, now_ms: int) -> None:
    """Say what has happened on a channel since the last time, every closed bar of it before the one that forms."""
    market = channel.market
    if channel.kind == "trades":
        trades = market.trades(channel.said_ms, now_ms)
        channel.said_ms = max(now_ms, channel.said_ms)
        if trades:
            await _say(venue, channel, venue.trade_frames(channel, trades), None, False)
        return
    for row, closed in market.since(channel.timeframe, channel.open_ms, now_ms):
        channel.open_ms = market.closes_ms(channel.timeframe, row.time_ms) if closed else row.time_ms
        await _say(venue, channel, venue.frames(channel, row, closed), row, closed)
    channel.due_ms = now_ms + timeframe_ms(market.timeframe) // venue.spec.ticks // 2


async def _say(venue: Venue, channel: Channel, frames: list[str], row: Row | None, closed: bool) -> None:
    if not frames:
        return
    able = TRADE_KINDS if row is None else STREAM_KINDS
    fault = venue.plan.hit(f"ws:{channel.symbol}", able)
    if closed:
        fault = venue.plan.hit(f"bar:{channel.symbol}", able) or fault
    if fault is None:
        channel.deliver(frames)
    elif fault.kind in _LINE:
        await _LINE[fault.kind](venue, channel, frames, fault)
    elif row is not None and fault.kind in ROW_KINDS:
        channel.deliver(venue.frames(channel, tampered(row, fault.kind), closed))
    else:
        _FRAMES[fault.kind](venue, channel, frames, fault)


# Faults of the line: everybody on the channel has it ---------------------------------------------------------------


async def _abort(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    for connection in list(channel.connections):
        connection.reset()


async def _midframe(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    for connection in list(channel.connections):
        await connection.cut(frames[0])


async def _close(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    for connection in list(channel.connections):
        await connection.close(fault.args.get("code", 1000))


async def _shutdown(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    if words := venue.shutdown_frame():
        channel.deliver([words])
    await _close(venue, channel, frames, Fault(fault.where, "close", args={"code": 1001, **fault.args}))


async def _silence(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    for connection in channel.connections:
        connection.hush(fault.args.get("seconds", 300))


async def _half_open(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    for connection in channel.connections:
        connection.half_open()


async def _bad_json(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.deliver([frame[: len(frame) // 2] for frame in frames])


_LINE: dict[str, Callable[[Venue, Channel, list[str], Fault], Awaitable[None]]] = {
    "abort": _abort, "midframe": _midframe, "close": _close, "shutdown": _shutdown,
    "silence": _silence, "halfopen": _half_open, "badjson": _bad_json,
}  # fmt: skip


# Faults of what is said --------------------------------------------------------------------------------------------


def _drop(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.deliver([])


def _dup(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.deliver(frames * 2)


def _late(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.late.append((int(fault.args.get("frames", 2)), frames))


def _mute(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.muted_until_s = clock.monotonic() + fault.args.get("seconds", 300)


def _hole(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    field = fault.args.get("field", venue.close_field)
    channel.deliver([holed(frame, field, fault.kind == "null") for frame in frames])


def _revise(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.deliver(frames)
    venue.revise(channel, fault.args.get("factor", 1.001), told=fault.kind == "revise")


def _older(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    channel.deliver(frames)
    back = int(fault.args.get("bars", 3))
    rows = channel.market.history(channel.timeframe, venue.now_ms(), limit=back + 1)
    channel.deliver(venue.frames(channel, rows[0], True))


def _skew(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    venue.skew_ms += fault.args.get("ms", 30_000)
    channel.deliver(frames)


def _delist(venue: Venue, channel: Channel, frames: list[str], fault: Fault) -> None:
    venue.delist(channel.symbol)


_FRAMES: dict[str, Callable[[Venue, Channel, list[str], Fault], None]] = {
    "drop": _drop, "dup": _dup, "late": _late, "mute": _mute, "hole": _hole, "null": _hole,
    "revise": _revise, "revise_rest": _revise, "older": _older, "skew": _skew, "delist": _delist,
}  # fmt: skip
