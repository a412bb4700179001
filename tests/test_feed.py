"""The loop around any provider: whatever the source does, every closed bar is published once and in order."""

import asyncio
from pathlib import Path

import pytest
from pynelive.bus.messages import Bar, End, State
from pynelive.bus.rundir import RunDir
from pynelive.bus.topology import load
from pynelive.producers.feed import Feed
from support import Taken

SHAKY = '''
from pynelive.bus.messages import Bar, Instrument
from pynelive.producers.contract import Capabilities, Disconnected, EndOfData, Provider, Update

LOST = {3, 4, 9}                    # closed while nobody was connected
BEGIN = 1_700_000_040_000
def bar(number, **more):
    return Bar(BEGIN + number * 60_000, 1.0, 2.0, 0.5, 1.5, float(number), **more)

class Shaky(Provider):
    """Breaks at every step that can break, and comes back."""
    name = "shaky"
    capabilities = Capabilities(heals=True)
    tries = 0
    failed = 0
    at = 0

    async def get_symbol_info(self, key):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked == 1:
            raise Disconnected("the network is not up yet", retry_after=0.0)
        return Instrument(key.symbol, key.timeframe)

    def now_ms(self):
        return BEGIN + self.at * 60_000

    async def connect(self):
        self.tries += 1
        if self.tries % 3 == 2:
            raise Disconnected("no answer", retry_after=0.0)

    async def disconnect(self):
        pass

    @property
    def is_connected(self):
        return True

    async def backfill_closed_bars(self, key, since_ms):
        if self.tries % 3 == 0 and self.failed != self.tries:
            self.failed = self.tries
            raise Disconnected("history is down", retry_after=0.0)
        first = (since_ms - BEGIN) // 60_000 + 1
        return [bar(n, origin="backfill") for n in range(first - 2, self.at)]      # overlaps what is known

    async def watch(self):
        key = self.keys[0]
        if self.at == 8 and not getattr(self, "left", False):
            self.left = True
            return                                                                  # against the contract
        while self.at < 12:
            number, self.at = self.at, self.at + 1
            if number in LOST:
                raise Disconnected("gone in the middle", retry_after=0.0)
            yield Update(key, bar(number, closed=False, update=1))
            yield Update(key, bar(number))
            yield Update(key, bar(number))                                          # said twice
            if number == 6:                                                         # corrected, again, and back
                for high in (3.0, 3.0, 4.0, 2.0):
                    yield Update(key, Bar(BEGIN + 6 * 60_000, 1.0, high, 0.5, 1.5, 6.0))
            if number == 7:
                raise Disconnected("once more", retry_after=0.0)
        raise EndOfData("played")
'''

BEGIN = 1_700_000_040_000
TOPOLOGY = """
[[producer]]
name = "shaky"
provider = "shaky.py"
streams = ["X@1"]
quality = { hold_s = 1e6 }          # its clock leaps

[[sink]]
name = "taker"
type = "jsonl"
streams = ["shaky:*"]
"""


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """A feed around a provider that breaks often, prepared as its process does it."""
    monkeypatch.setattr("pynelive.producers.feed._FIRST_PAUSE_S", 0.0)
    (tmp_path / "shaky.py").write_text(SHAKY)
    (tmp_path / "topology.toml").write_text(TOPOLOGY)
    topology = load(tmp_path / "topology.toml")
    feed = Feed(topology, topology.producers[0])
    feed.prepare()
    return feed


async def test_a_source_that_breaks_everywhere_loses_and_doubles_nothing(feed: Feed, tmp_path: Path) -> None:
    """Broken in connect, in the backfill and in the middle: what was missed is fetched before anything newer; what is
    said twice is published once, a correction as a revision, and the stream says when it was down."""
    taken = Taken(RunDir(load(tmp_path / "topology.toml")), ["shaky:X@1"], consumer="taker", acks=True)

    await asyncio.wait_for(feed.run(asyncio.Event()), 100)  # ends when its one declared consumer has all of it

    await taken.subscriber.close()
    said = taken.messages["shaky:X@1"]
    assert isinstance(said[-1], End)
    first = BEGIN // 60_000
    assert taken.closed("shaky:X@1") == list(range(first, first + 12))
    assert {3, 4, 9} <= {m.time_ms // 60_000 - first for m in said if isinstance(m, Bar) and m.origin == "backfill"}
    corrected = [(m.time_ms // 60_000 - first, m.high, m.revision) for m in said if isinstance(m, Bar) and m.revision]
    assert corrected == [(6, 3.0, 1), (6, 4.0, 2), (6, 2.0, 3)]
    assert {"down", "live"} <= {m.state for m in said if isinstance(m, State)}
