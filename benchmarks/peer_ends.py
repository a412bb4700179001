"""The two ends of each way that P3 compares ours with (``peers.py``): what publishes, and what receives and decodes.

A publisher returns when it began; it begins once its receiver is ready.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from harness import bars, checksum, until
from pynelive.bus.messages import Bar

_PIPELINE = 64
_SUBJECT = "bars"
_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Bar).decode

Ends = tuple[float, int]
"""When the last bar was decoded, and the checksum."""


def _ready(place: str) -> Path:
    """There once the receiver listens."""
    return Path(place) / "ready"


# --- cryptofeed -------------------------------------------------------------------------------------------------------


def cryptofeed_publish(place: str, count: int) -> float:
    """Its own backend, fed as its feed handler feeds it; the receiver binds, as in its example."""
    import zmq.asyncio
    from cryptofeed.backends.zmq import CandlesZMQ
    from cryptofeed.types import Candle

    def candle(bar: Bar, symbol: str) -> Any:
        values = (bar.open, bar.close, bar.high, bar.low, bar.volume, bar.closed, bar.received_ns)
        return Candle("BENCH", symbol, bar.time_ms, bar.time_ms, "1m", None, *values)

    async def main() -> float:
        zmq.asyncio.Context.instance().sndhwm = 0  # by default it drops beyond 1,000 waiting
        port = int(until(lambda: (Path(place) / "port").exists() and (Path(place) / "port").read_text()))
        made = [candle(bar, "BTC-USDT") for bar in bars(count)]
        backend = CandlesZMQ(port=port)
        backend.start(asyncio.get_running_loop())
        while not _ready(place).exists():
            await backend(candle(Bar(0, 1, 1, 1, 1, 1), "WARM-UP"), 0.0)
            await asyncio.sleep(0.01)
        started = time.monotonic()
        for each in made:
            await backend(each, 0.0)
        await backend.queue.join()
        await backend.stop()
        return started

    return asyncio.run(main())


def cryptofeed_receive(place: str, count: int) -> Ends:
    """A blocking SUB that takes the JSON apart, as in its example; with the JSON that it uses itself."""
    import zmq
    from yapic import json as yapic

    got: list[dict[str, Any]] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.subscribe(b"")
        (Path(place) / "port").write_text(str(socket.bind_to_random_port("tcp://127.0.0.1")))
        while len(got) < count:
            topic, _, text = socket.recv_string().partition(" ")
            if topic.endswith("WARM-UP"):
                _ready(place).touch()
            else:
                got.append(yapic.loads(text))
    ended = time.monotonic()
    made = [
        Bar(int(d["start"]), d["open"], d["high"], d["low"], d["close"], d["volume"], d["closed"],
            received_ns=int(d["timestamp"]))
        for d in got
    ]  # fmt: skip
    return ended, checksum(made)


# --- NATS -------------------------------------------------------------------------------------------------------------


def nats_publish(place: str, count: int, url: str, stored: bool) -> float:
    """NATS core, or JetStream with as many open publishes as its client allows."""
    import nats

    async def main() -> float:
        client = await nats.connect(url)
        made = bars(count)
        await asyncio.to_thread(until, _ready(place).exists)
        stream = client.jetstream()
        started = time.monotonic()
        for bar in made:
            if stored:
                await stream.publish_async(_SUBJECT, _encode(bar))
            else:
                await client.publish(_SUBJECT, _encode(bar))
        if stored:
            await stream.publish_async_completed()
        await client.drain()
        return started

    return asyncio.run(main())


def nats_receive(place: str, count: int, url: str, stored: bool) -> Ends:
    """A subscription with a callback; of JetStream, an ordered consumer."""
    import nats

    async def main() -> Ends:
        client = await nats.connect(url)
        got: list[Bar] = []
        done = asyncio.Event()

        async def take(message: Any) -> None:
            got.append(_read(message.data))
            if len(got) == count:
                done.set()

        if stored:
            stream = client.jetstream()
            await stream.add_stream(name="bench", subjects=[_SUBJECT])
            await stream.subscribe(_SUBJECT, cb=take, ordered_consumer=True)
        else:
            await client.subscribe(_SUBJECT, cb=take)
            await client.flush()
        _ready(place).touch()
        await done.wait()
        ended = time.monotonic()
        if stored:
            await client.jetstream().delete_stream("bench")
        await client.close()
        return ended, checksum(got)

    return asyncio.run(main())


# --- Redis ------------------------------------------------------------------------------------------------------------


def redis_publish(place: str, count: int, path: str) -> float:
    """XADD, 64 in a pipeline."""
    import redis

    client = redis.Redis(unix_socket_path=path)
    made = bars(count)
    until(_ready(place).exists)
    started = time.monotonic()
    for at in range(0, count, _PIPELINE):
        pipeline = client.pipeline(transaction=False)
        for bar in made[at : at + _PIPELINE]:
            pipeline.xadd(_SUBJECT, {b"bar": _encode(bar)})
        pipeline.execute()
    return started


def redis_receive(place: str, count: int, path: str) -> Ends:
    """XREAD from the last id, blocking."""
    import redis

    client = redis.Redis(unix_socket_path=path)
    client.delete(_SUBJECT)
    _ready(place).touch()
    got: list[Bar] = []
    last: bytes | str = "0"
    while len(got) < count:
        for _, entries in client.xread({_SUBJECT: last}, count=512, block=1000):
            got += [_read(fields[b"bar"]) for _, fields in entries]
            last = entries[-1][0]
    return time.monotonic(), checksum(got)
