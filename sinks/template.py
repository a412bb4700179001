"""Sinks to start from, one that keeps and one that draws: what ``docs/write-a-sink.md`` shows."""

from __future__ import annotations

TEMPLATE = '''\
"""Writes the close of every bar into a text file, a line a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynelive.bus.messages import Bar, Instrument
from pynelive.sinks.contract import Delivery, Sink


class Closes(Sink):
    @dataclass
    class Config:
        path: str = "closes.txt"

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._file = (base / config.path).open("a+", encoding="utf-8")
        self._file.seek(0)
        self._last_ms = {stream: int(time_ms) for stream, time_ms, _ in map(str.split, self._file)}

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        return self._last_ms.get(stream)

    def write(self, batch: Sequence[Delivery]) -> None:
        for stream, message in batch:
            if isinstance(message, Bar) and message.time_ms > self._last_ms.get(stream, 0):
                self._last_ms[stream] = message.time_ms
                self._file.write(f"{stream} {message.time_ms} {message.close}\\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
'''
"""The text of a whole sink: save it as a file and name that file as the ``type`` of a ``[[sink]]``."""

DRAWING = '''\
"""Draws the last closes of each stream as a line, into a picture that a browser shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pynelive.bus.calls import Start
from pynelive.bus.messages import Bar, Instrument
from pynelive.sinks.contract import Delivery, Sink

HEIGHT = 40


class Sparklines(Sink):
    forming = True

    @dataclass
    class Config:
        path: str = "sparklines.svg"
        bars: int = 60

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._path = (base / config.path).resolve()
        self._closes: dict[str, dict[int, float]] = defaultdict(dict)
        self.address = self._path.as_uri()

    def open(self, stream: str, instrument: Instrument | None) -> Start:
        return Start(last=self.config.bars)

    def write(self, batch: Sequence[Delivery]) -> None:
        for stream, message in batch:
            if isinstance(message, Bar):
                self._closes[stream][message.time_ms] = message.close
        rows = [self._row(row, stream) for row, stream in enumerate(sorted(self._closes))]
        size = f'width="640" height="{HEIGHT * len(rows)}"'
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(rows)}</svg>', encoding="utf-8")
        fresh.replace(self._path)

    def _row(self, row: int, stream: str) -> str:
        self._closes[stream] = dict(sorted(self._closes[stream].items())[-self.config.bars :])
        closes = list(self._closes[stream].values())
        low, high = min(closes), max(*closes, min(closes) + 1e-9)
        step, top, scale = 400 / len(closes), row * HEIGHT + 5, (HEIGHT - 10) / (high - low)
        points = " ".join(f"{at * step:.1f},{top + scale * (high - close):.1f}" for at, close in enumerate(closes))
        text = f'<text x="410" y="{top + HEIGHT / 2}">{escape(stream)} {closes[-1]}</text>'
        return f'<polyline points="{points}" fill="none" stroke="teal"/>{text}'
'''
"""The same of one that draws."""
