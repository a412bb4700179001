"""PyneCore's ``.ohlcv`` files. With ``syminfo.py``, their ``.toml``, all that touches its files.

The recorder appends to them, replay reads them, the history cache does both. PyneCore's writer is durable
but locks nothing, and PyneCore itself replaces files by name, so :class:`BarFile` holds PyneCore's own lock,
notices a file that was changed under it, and continues whatever a kill or a full disk has left.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from math import inf
from pathlib import Path
from stat import S_IMODE
from typing import Any, BinaryIO

from . import sockets  # noqa: F401 - behind PyneCore nobody could import zmq

# isort: split
import pynecore.core.ohlcv as core
from pynecore.types.ohlcv import OHLCV

from . import failpoints
from .errors import Fault, Hopeless
from .folders import make_folder, sync_folder
from .messages import Bar, Instrument, Origin
from .names import parse_key
from .syminfo import (
    from_syminfo,
    period_of,
    publish,
    read_instrument,
    read_note,
    to_syminfo,
    write_toml,
)

__all__ = [
    "BarFile", "from_syminfo", "last_time_ms", "lock", "ohlcv_path", "read_bars", "read_instrument",
    "read_period", "refusal", "rewrite", "sync_folder", "to_syminfo",
]

DEFAULT_ORIGINS = frozenset({"venue", "backfill"})
"""The origins that a recording does not name in its ``.toml``: the venue's own bars."""

_HEADER = 64


def ohlcv_path(folder: Path, stream: str) -> Path:
    """The file of a stream, named as ``pyne data download`` names it.

    :raises ValueError: the stream is none of bars, such as ``run:NAME``
    """
    name, timeframe = parse_key(stream)
    provider, colon, symbol = name.partition(":")
    return folder / f"{re.sub('[:/]', '_', provider + colon + symbol.upper())}_{timeframe}.ohlcv"


def read_bars(path: Path, *, from_ms: int | None = None, origin: Origin = "venue") -> Iterator[Bar]:
    """The bars of a file that open at ``from_ms`` or later, oldest first, as it is now.

    :raises Fault: there is no such file, or it is damaged
    """
    with _reading(path) as reader:
        legacy = reader.period is None
        for bar in reader if from_ms is None else reader.read_from(from_ms):
            if not (legacy and bar.volume < 0):  # the old format fills gaps with such bars
                yield _bar(bar, origin, bar.extra_fields)


def last_time_ms(path: Path) -> int | None:
    """When the last bar of a file opens; None if there is no file or no bar in it.

    :raises Fault: the file is damaged
    """
    if not _exists(path):
        return None
    with _reading(path) as reader:
        found: int | None = reader.get_last_bar_time()
        return found


def read_period(path: Path) -> str:
    """The timeframe of a file; one in the old format has it in its ``.toml`` only.

    :raises Fault: there is no such file, it is damaged, or nothing says its timeframe
    """
    with _reading(path) as reader:
        period: str | None = reader.period
    if period is None and (instrument := read_instrument(path)):
        period = instrument.timeframe
    if period is None:
        raise Fault(f"{path} does not say its timeframe: put the .toml of its symbol beside it, "
                    "or download it again")
    return period


def refusal(bar: Bar) -> str | None:
    """Why PyneCore's format cannot hold the bar (infinite, or a high below its close); None if it can."""
    if -inf < bar.low <= bar.open <= bar.high < inf and bar.low <= bar.close <= bar.high and -inf < bar.volume < inf:
        return None  # as nearly all are; asking PyneCore takes twenty times as long
    try:
        core._validate_candle(_candle(bar))
    except ValueError as error:
        return str(error)
    return None


def lock(path: Path) -> BinaryIO:
    """Hold a file for writing, by the lock that PyneCore itself takes, until what is returned is closed.

    :raises Fault: somebody else writes the file; PyneCore would wait here, for days if need be
    """
    with _writing(path):
        make_folder(path.parent)
        held = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise Fault(f"{path} is being written by another recorder or download: "
                    "stop that one, or write into another folder") from None
    return held


def rewrite(path: Path, bars: Iterable[Bar]) -> None:
    """Give an existing file these bars in place of its own, all or nothing; the caller holds its lock.

    :raises Fault: the disk is full or the like; the file is then as it was
    """
    with _reading(path) as reader:
        grid = reader.minmove, reader.pricescale
    with _writing(path):
        _write_anew(path, read_period(path), grid, bars)


class BarFile:
    """An append-only recording of one stream, held alone; what :meth:`append` was given is durable.

    The file keeps the tick grid that it was begun with, and prices off it are stored in full: nothing is
    rounded when a venue changes its tick. PyneCore replaces the file for that; ``_is_ours`` asks its writer.
    """

    def __init__(self, path: Path, instrument: Instrument) -> None:
        """Continue the file or begin it, with its ``.toml``.

        :raises Fault: held by somebody else, damaged, in the old format, or of another timeframe or source
        """
        self.path = path
        self._instrument = instrument
        self._origins: set[str] = set()
        self._lock = lock(path)
        try:
            with _writing(path):
                self._prepare()
                self._writer: Any = core.OHLCVWriter(path, period_of(instrument.timeframe)).open()
                self._mode = S_IMODE(path.stat().st_mode)
                self._look()
        except BaseException:
            self._lock.close()
            raise

    @property
    def size(self) -> int:
        """How many bars are in the file."""
        return int(self._writer.size)

    @property
    def first_ms(self) -> int | None:
        """When the first bar opens."""
        found: int | None = self._writer.start_timestamp
        return found

    @property
    def last_ms(self) -> int | None:
        """When the last bar opens: the offset of a recorder."""
        found: int | None = self._writer.end_timestamp
        return found

    def bar_at(self, time_ms: int) -> Bar | None:
        """The bar that opens then, as it reads back."""
        with _reading(self.path) as reader:
            found = list(reader.read_from(time_ms, time_ms))
        return _bar(found[0]) if found else None

    def append(self, bars: Sequence[Bar]) -> None:
        """Add bars, each later than the one before it, with one commit for all.

        :raises Fault: the disk is full or the like, or somebody else has changed the file
        """
        if not bars:
            return
        if not self._is_ours() or self._header != os.pread(self._fd, _HEADER, 0):
            self._refuse()
        with _writing(self.path):
            self._note({bar.origin for bar in bars})
            with self._writer.batched():
                for bar in bars:
                    self._writer.write(_candle(bar))
        failpoints.hit("ohlcv.after-commit")
        if not self._is_ours():
            self._refuse()
        self._look()

    def close(self) -> None:
        """Release the file and its lock."""
        with self._lock, _writing(self.path):
            self._writer.close()

    @property
    def _fd(self) -> int:
        return int(self._writer._file.fileno())

    def _prepare(self) -> None:
        for leftover in self.path.parent.glob(f".{escape(self.path.name)}.*.tmp"):
            leftover.unlink()  # of a promotion, a beginning or a merge that was killed in the middle
        period = period_of(self._instrument.timeframe)
        grid = self._instrument.minmove, self._instrument.pricescale
        if not _exists(self.path):
            _write_anew(self.path, period, grid, ())
        elif not self._continues():
            _write_anew(self.path, period, grid, list(read_bars(self.path)))
        note = read_note(self.path)
        if note.source == self._instrument.source:
            self._origins.update(note.origins)
        write_toml(self.path, self._instrument, self._origins)

    def _continues(self) -> bool:
        """Check that the file is of this stream; False if it has no tick grid, which would round prices."""
        with self.path.open("rb") as file:
            if file.read(len(core._MAGIC)) != core._MAGIC:
                raise Hopeless(f"{self.path} is in PyneCore's old format, or is no .ohlcv file at all: "
                            "move it away, or download it again")
        with _reading(self.path) as reader:
            period, size, pricescale = reader.period, reader.size, reader.pricescale
        if period != period_of(self._instrument.timeframe):
            raise Hopeless(f"{self.path} holds bars of timeframe {period}, not {self._instrument.timeframe}: "
                        "move it away, or record into another folder")
        source = read_note(self.path).source
        if size and source != self._instrument.source:
            raise Hopeless(f"{self.path} was made from {_said(source)}, "
                        f"not from {_said(self._instrument.source)}: "
                        "move it away with its .toml, or record into another folder")
        return pricescale is not None

    def _note(self, origins: set[Origin]) -> None:
        """Name the bars' origins in the ``.toml`` before the first of them is in the file."""
        if fresh := origins - DEFAULT_ORIGINS - self._origins:
            self._origins |= fresh
            write_toml(self.path, self._instrument, self._origins)

    def _is_ours(self) -> bool:
        """Whether the name still leads to the file that the writer writes to."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _look(self) -> None:
        os.fchmod(self._fd, self._mode)  # PyneCore's replacement is readable by nobody else
        self._header = os.pread(self._fd, _HEADER, 0)

    def _refuse(self) -> None:
        kept = "" if self._is_ours() else f"; what was recorded until then is kept in {self._keep().name}"
        raise Fault(f"{self.path} was changed by another program while it was recorded{kept}: "
                    "let nothing else write it, then start again to go on from what it holds now")

    def _keep(self) -> Path:
        """Copy what only our descriptor leads to any more."""
        numbered = (self.path.with_suffix(f".kept-{n}.ohlcv") for n in range(1, 1_000_000))
        kept = next(path for path in numbered if not path.exists())
        with _writing(kept), kept.open("xb") as file:
            while chunk := os.pread(self._fd, 1 << 20, file.tell()):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            sync_folder(kept.parent)
        return kept


def _write_anew(path: Path, period: str, grid: tuple[int, int], bars: Iterable[Bar]) -> None:
    fresh = path.with_name(f".{path.name}.new.tmp")
    writer = core.OHLCVWriter(fresh, period, minmove=grid[0], pricescale=grid[1], truncate=True)
    with writer, writer.batched():
        for bar in bars:
            writer.write(_candle(bar))
    publish(fresh, path)


def _candle(bar: Bar) -> Any:
    return OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)


def _bar(candle: Any, origin: Origin = "venue", extra: dict[str, float | str] | None = None) -> Bar:
    return Bar(candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume,
               origin=origin, extra=extra)


def _exists(path: Path) -> bool:
    """An empty file is what a power failure may leave of a new one: as good as none."""
    return path.exists() and path.stat().st_size > 0


def _said(source: str) -> str:
    return f"'{source}'" if source else "a venue"


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with core.OHLCVReader(path) as reader:
            yield reader
    except OSError as error:
        raise Fault(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, struct.error) as error:
        why = str(error).partition("\n")[0]  # PyneCore's advice follows, for a file of another name
        raise Hopeless(f"{path} is damaged ({why}): restore it from a copy, "
                    "or move it away to begin anew") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or f"{error}; the disk may be full"  # the latter of PyneCore, after half a write
        raise Fault(f"{path} cannot be written ({why}): mend that and start again, "
                    "what is in the file is whole") from error
    except (ValueError, RuntimeError) as error:
        raise Fault(f"{path} cannot be continued ({error}): move it away, "
                    "or record into another folder") from error


def _arm(place: str, function: str) -> None:
    """Let a test kill the process inside PyneCore: between the records and the header that counts them."""
    real = getattr(core, function)

    def armed(*args: Any) -> Any:
        if function == "replace_file" or (len(args[1]) == _HEADER and args[2] == 0):
            failpoints.hit(place)
        return real(*args)

    setattr(core, function, armed)


if failpoints.ACTIVE:
    _arm("ohlcv.between-record-and-header", "_pwrite")
    _arm("ohlcv.in-promotion", "replace_file")
