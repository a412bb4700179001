"""What several tests need: a bus of their own, bars, and waiting without sleeping blindly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pynelive.bus.cursor import Cursor
from pynelive.bus.messages import Bar, Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import JournalSpec
from pynelive.bus.subscriber import Begin, Subscriber, from_earliest

STREAM = "demo:BTC/USDT@1"


def make_bar(number: int, **changes: object) -> Bar:
    """A closed bar whose values are all made of its number."""
    values: dict[str, object] = {"closed": True, "origin": "demo", **changes}
    return Bar(
        number * 60_000, number + 0.25, number + 1.0, number - 1.0, number + 0.5, number * 2.0, **values
    )  # type: ignore[arg-type]


async def wait_until(happened: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Return as soon as it has happened; fail when it has not for too long."""
    async with asyncio.timeout(timeout_s):
        while not happened():  # noqa: ASYNC110 - any condition at all is waited for
            await asyncio.sleep(0.002)


class Taken:
    """A subscriber that remembers what it was given."""

    def __init__(
        self, run: RunDir, patterns: list[str], begin: Begin = from_earliest, consumer: str = "", acks: bool = False
    ) -> None:
        self.acks = acks
        self.messages: dict[str, list[Message]] = {}
        self.subscriber = Subscriber(run, patterns, self.take, begin, consumer)
        self.subscriber.open()

    def take(self, cursor: Cursor, messages: list[Message]) -> None:
        self.messages.setdefault(cursor.stream, []).extend(messages)
        if self.acks:
            self.subscriber.ack({cursor.stream: (cursor.epoch, cursor.next)})

    def closed(self, stream: str = STREAM) -> list[int]:
        """The numbers of the closed bars, as they came."""
        said = self.messages.get(stream, [])
        return [m.time_ms // 60_000 for m in said if isinstance(m, Bar) and m.closed and not m.revision]


@asynccontextmanager
async def publishing(
    run: RunDir,
    name: str = "demo",
    consumers: dict[str, list[str]] | None = None,
    journal: JournalSpec | None = None,
) -> AsyncIterator[Publisher]:
    """An open publisher with one stream that has said its instrument."""
    publisher = Publisher(run, name, consumers, journal or JournalSpec())
    await publisher.open()
    if STREAM not in publisher.outs:
        publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    try:
        yield publisher
    finally:
        await publisher.close()


def run_dir(tmp_path: Path) -> RunDir:
    """The folder of a bus."""
    return RunDir(tmp_path / "run")
