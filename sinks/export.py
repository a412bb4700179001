"""A stream out of a journal into one file, by what the sinks write with: a new file, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ..bus.errors import Fault
from ..bus.journal import Journal
from ..bus.messages import Bar, Executed, Instrument, Message, Run
from ..bus.track import Track
from ..bus.wire import Malformed, decode
from .contract import Delivery
from .csv import CsvSink
from .jsonl import JsonlSink
from .ohlcv import Recording, day, many

_AT_ONCE = 10_000


def export_stream(journal: Journal, stream: str, file: Path, from_ms: int = 0, to_ms: int | None = None) -> str:
    """Write what the journal has of a stream: its closed bars, or all that it said, as the name of the file ends.

    :param from_ms: from this bar on, :param to_ms: until before this one
    :return: a line that says what is in the file
    :raises Fault: there is such a file already, it cannot be written, or there is nothing of that time
    """
    if file.suffix not in (".ohlcv", ".csv", ".jsonl"):
        raise Fault(f"{file}: a name that ends with .ohlcv, .csv or .jsonl says in which form")
    if stream not in journal.tracks:
        raise Fault(f"the journal in {journal.folder} holds nothing of '{stream}'")
    _refuse_to_overwrite(file)
    track = journal.tracks[stream]
    there, taken = _Span(), _Span()
    said = (Delivery(stream, message) for message in _said(journal, track, from_ms, to_ms, there, taken))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=file.parent, prefix=f".{file.stem}.") as folder:
            line = _written(Path(folder), file, track, said, taken)
            if not taken:
                raise Fault(f"the journal has nothing of '{stream}' from that time: it has {there or 'no bar'}")
            _move([path for path in Path(folder).iterdir() if path.suffix != ".lock"], file)
    except OSError as error:
        raise Fault(f"{file} cannot be written: {error.strerror or error}") from None
    return line


class _Span:
    """From the first to the last time that was noted."""

    def __init__(self) -> None:
        self.first_ms = self.last_ms = 0

    def note(self, time_ms: int) -> None:
        self.first_ms = self.first_ms or time_ms
        self.last_ms = max(self.last_ms, time_ms)

    def __bool__(self) -> bool:
        return self.last_ms > 0

    def __str__(self) -> str:
        return f"{day(self.first_ms)} … {day(self.last_ms)}"


def _said(
    journal: Journal, track: Track, from_ms: int, to_ms: int | None, there: _Span, taken: _Span
) -> Iterator[Message]:
    for place in track.places:
        record = journal.record_at(place)
        try:
            messages = decode(record.payload)
        except Malformed as error:
            raise Fault(f"message {record.seq} of '{track.name}' cannot be read ({error}): upgrade pynelive") from None
        for message in messages:
            bar = message.bar if isinstance(message, Executed) else message
            time_ms = getattr(bar, "time_ms", record.time_ms)
            if isinstance(message, Instrument | Run):
                yield message
                continue
            there.note(time_ms)
            if time_ms >= from_ms and (to_ms is None or time_ms < to_ms):
                taken.note(time_ms)
                yield message


def _written(folder: Path, file: Path, track: Track, said: Iterator[Delivery], taken: _Span) -> str:
    if file.suffix == ".jsonl":
        return _jsonl(folder, file, said)
    instrument = decode(track.opening)[0] if track.opening else None
    if not isinstance(instrument, Instrument):
        raise Fault(f"'{track.name}' is no stream of bars: export it as .jsonl")
    if file.suffix == ".ohlcv":
        return _ohlcv(folder, file, instrument, said)
    return f"{file}  {many(_csv(folder, file, track.name, said), 'bar')}  {taken}"


def _ohlcv(folder: Path, file: Path, instrument: Instrument, said: Iterator[Delivery]) -> str:
    """A recording: revisions and late bars are beside it, as `pynelive merge` wants them."""
    recording = Recording(folder / file.name, str(file), instrument)
    while batch := list(islice(said, _AT_ONCE)):
        for _, message in batch:
            if isinstance(message, Bar) and message.closed:
                recording.take(message)
            elif isinstance(message, Instrument) and message != recording.instrument:
                recording.commit()
                recording.close()
                recording = Recording(folder / file.name, str(file), message)
        recording.commit()
    line = recording.summary()
    recording.close()
    return line


def _csv(folder: Path, file: Path, stream: str, said: Iterator[Delivery]) -> int:
    """Each bar as it was first published; how many."""
    sink = CsvSink(CsvSink.Config(dir="."), folder)
    sink.open(stream, None)
    _write(sink, said)
    next(folder.glob("*.csv")).rename(folder / file.name)
    return sink.written


def _jsonl(folder: Path, file: Path, said: Iterator[Delivery]) -> str:
    sink = JsonlSink(JsonlSink.Config(path=file.name), folder)
    _write(sink, said)
    return f"{file.parent / sink.summary()[0]}"


def _write(sink: CsvSink | JsonlSink, said: Iterator[Delivery]) -> None:
    while batch := list(islice(said, _AT_ONCE)):
        sink.write(batch)
    sink.close()


def _move(made: list[Path], file: Path) -> None:
    for path in made:
        _refuse_to_overwrite(file.with_name(path.name))
    for path in made:
        path.rename(file.with_name(path.name))


def _refuse_to_overwrite(target: Path) -> None:
    if target.exists():
        raise Fault(f"{target} is there already: remove it, or name another file")

