"""A sink that keeps a run from ending until the file ``go`` lies beside the topology."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pynelive.bus.messages import End, Instrument
from pynelive.sinks.contract import Delivery, Sink


class Hold(Sink):
    """Takes everything and keeps nothing; what comes with the end of a stream is not confirmed before its time."""

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        """Nothing is kept: always from the earliest on."""
        return None

    def write(self, batch: Sequence[Delivery]) -> None:
        """Return when it is allowed to."""
        if any(isinstance(message, End) for _, message in batch):
            while not (self.base / "go").exists():
                time.sleep(0.05)
