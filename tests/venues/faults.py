"""The fault plan: what goes wrong at a venue, when, and what of it has happened.

Every event of a venue has a hook, and a plan counts the events of each:

* ``rest:<path>`` a request (the path as its route is written), and ``rest:*`` any request
* ``wsopen`` an upgrade to a WebSocket; ``wssub`` a subscribe message; ``wsping`` a ping of the client
* ``ws:<SYMBOL>`` a frame (or a batch of trades) of a symbol, in the venue's notation, and ``ws:*`` of any symbol
* ``bar:<SYMBOL>`` a frame that says a bar has closed (counted beside ``ws:``), and ``bar:*``

A fault fires for the events ``at <= i < at + count`` of its hook, so a test can say afterwards that it *has* fired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec
from pynelive.producers import clock

ROW_KINDS = frozenset({"partial", "offgrid", "microseconds", "bounds", "zero", "negative", "spike"})
"""One row with wrong values: see :func:`tampered`."""

REST_KINDS = ROW_KINDS | {
    "status", "rate", "ban", "maintenance", "html", "badjson", "null", "empty", "truncate", "reset", "hang",
    "absent", "outdated", "gap", "nulls", "skew", "delist",
}  # fmt: skip
"""``rate`` 429 with Retry-After, ``ban`` 418, ``maintenance`` 503, ``absent`` the forming row is missing, ``outdated``
the newest ``rows`` are missing, ``gap`` some in the middle are, ``nulls`` a row has no values."""

OPEN_KINDS = frozenset({"slow", "status", "rate", "reset"})
SUBSCRIBE_KINDS = frozenset({"reject", "noack", "slow", "abort", "close"})
PING_KINDS = frozenset({"swallow", "halfopen", "abort"})

LINE_KINDS = frozenset({"abort", "midframe", "close", "silence", "halfopen", "badjson", "shutdown", "skew", "delist"})
"""What can go wrong with a connection, or with the venue: whatever its frames say."""

FRAME_KINDS = frozenset({"drop", "dup", "late", "mute", "hole", "null"})
"""``late`` comes ``frames`` frames later, ``mute`` silences one symbol for ``seconds``, ``hole`` a field is missing."""

HISTORY_KINDS = frozenset({"revise", "revise_rest", "older"})
"""``revise`` sends the last bar again with another close, ``revise_rest`` changes the history only, ``older`` sends
a bar of ``bars`` ago once more."""

STREAM_KINDS = LINE_KINDS | FRAME_KINDS | HISTORY_KINDS | ROW_KINDS
TRADE_KINDS = LINE_KINDS | {"drop", "dup", "late", "mute", "hole", "null", "revise_rest"}
"""What can happen to a batch of trades."""

_KINDS = {
    "rest": REST_KINDS, "wsopen": OPEN_KINDS, "wssub": SUBSCRIBE_KINDS, "wsping": PING_KINDS,
    "ws": STREAM_KINDS, "bar": STREAM_KINDS,
}  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong ``count`` times from the event number ``at`` of a hook on."""

    where: str
    kind: str
    at: int = 0
    count: int = 1
    args: dict[str, Any] = {}

    def __post_init__(self) -> None:
        family = self.where.partition(":")[0]
        if self.kind not in _KINDS.get(family, ()):
            raise ValueError(f"no fault '{self.kind}' at '{self.where}': {sorted(_KINDS.get(family, _KINDS))}")


class Fired(NamedTuple):
    """A fault that has happened."""

    where: str
    number: int
    kind: str
    time_ms: int


class Plan:
    """The faults of one venue, the numbers of its events, and the log of what fired."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self.faults = list(faults)
        self.luck = Random(seed)
        self.counts: Counter[str] = Counter()
        self.log: list[Fired] = []

    def arm(self, fault: Fault) -> None:
        """Add a fault; its ``at`` counts from now."""
        self.faults.append(msgspec.structs.replace(fault, at=fault.at + self.counts[fault.where]))

    def hit(self, where: str, able: frozenset[str] | None = None) -> Fault | None:
        """Count an event; the fault that happens to it, if any of a kind that it is able to have."""
        family = where.partition(":")[0] + ":*"
        found = None
        for hook in (where, family):
            index = self.counts[hook]
            self.counts[hook] = index + 1
            if self.faults and found is None:
                found = self._matching(hook, index, able)
        return found

    def _matching(self, hook: str, index: int, able: frozenset[str] | None) -> Fault | None:
        for fault in self.faults:
            if fault.where == hook and fault.at <= index < fault.at + fault.count and (not able or fault.kind in able):
                self.log.append(Fired(hook, index, fault.kind, clock.now_ms()))
                return fault
        return None

    def pending(self) -> list[Fault]:
        """The faults that can still happen."""
        return [fault for fault in self.faults if self.counts[fault.where] < fault.at + fault.count]

    @classmethod
    def random(
        cls, seed: int, n: int, symbols: Sequence[str], frames: int = 200, bars: int = 20,
        kinds: Sequence[str] = (),
    ) -> Plan:  # fmt: skip
        """As many faults as asked for, spread over a run of so many frames and bars of each symbol.

        :param symbols: in the venue's notation
        :param kinds: only these; else all that a consumer with a history can get over
        """
        luck = Random(seed)
        table = {kind: hook for kind, hook in _RANDOM.items() if not kinds or kind in kinds}
        faults = []
        for _ in range(n):
            kind, hook = luck.choice(sorted(table.items()))
            spread = {"ws": frames, "bar": bars, "rest": max(bars // 4, 2)}.get(hook, 2)
            where = f"{hook}:{luck.choice(list(symbols))}" if hook in ("ws", "bar") else hook
            where = "rest:*" if hook == "rest" else where
            faults.append(Fault(where, kind, luck.randrange(spread), args=_args(kind, luck)))
        return cls(faults, seed)


_RANDOM = {
    **dict.fromkeys(["abort", "midframe", "close", "silence", "halfopen", "badjson", "shutdown"], "ws"),
    **dict.fromkeys(["drop", "dup", "late", "mute", "hole", "null"], "bar"),
    **dict.fromkeys(["revise", "revise_rest", "older", "partial"], "bar"),
    **dict.fromkeys(["rate", "ban", "maintenance", "html", "truncate", "reset", "hang", "absent", "nulls"], "rest"),
    **dict.fromkeys(["slow", "status"], "wsopen"),
    **dict.fromkeys(["reject", "noack"], "wssub"),
}


def _args(kind: str, luck: Random) -> dict[str, Any]:
    args: dict[str, dict[str, Any]] = {
        "close": {"code": luck.choice([1000, 1001, 1008, 1011, 1012])},
        "silence": {"seconds": luck.choice([90, 300])},
        "mute": {"seconds": luck.choice([90, 300])},
        "rate": {"retry_after": luck.choice([1, 5])},
        "ban": {"retry_after": 20},
        "hang": {"seconds": 0.5},
        "slow": {"seconds": 0.5},
        "status": {"status": 503},
        "late": {"frames": luck.randint(1, 6)},
        "older": {"bars": luck.randint(1, 5)},
    }
    return args.get(kind, {})
