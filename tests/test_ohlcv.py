"""PyneCore's files: what is written reads back exactly, and nobody else's writing goes unnoticed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from pynecore.core._file_io import exclusive_file_lock
from pynecore.core.ohlcv import OHLCVReader, OHLCVWriter
from pynecore.core.syminfo import SymInfo
from pynecore.types.ohlcv import OHLCV
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Bar, Instrument, Span
from pynelive.bus.ohlcv import (
    BarFile,
    from_syminfo,
    last_time_ms,
    lock,
    ohlcv_path,
    read_bars,
    read_instrument,
    read_period,
    refusal,
    rewrite,
    to_syminfo,
)

START_MS = 1_700_000_040_000
ROUND_THE_CLOCK = Instrument(
    "BTC/USDT", "1", prefix="DEMO", description='a "quoted" \\ näme', basecurrency="BTC", mincontract=1e-12,
    source="seed 7",
    opening_hours=tuple(Span(day, 0, 86_399) for day in range(7)),
    session_starts=tuple(Span(day, 0, 0) for day in range(7)),
    session_ends=tuple(Span(day, 86_399, 0) for day in range(7)),
)


def bar(minute: int, close: float = 100.27) -> Bar:
    """A bar whose prices are on the grid of 0.01 if its close is."""
    return Bar(START_MS + minute * 60_000, 100.25, max(101.0, close), min(99.5, close), close, 1.5)


def record(path: Path, bars: list[Bar], instrument: Instrument = ROUND_THE_CLOCK) -> None:
    """Append the bars in one sitting."""
    file = BarFile(path, instrument)
    try:
        file.append(bars)
    finally:
        file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a recording is."""
    return tmp_path / "demo_BTC_USDT_1.ohlcv"


@pytest.mark.parametrize(("stream", "name"), [
    ("demo:BTC/USDT@1", "demo_BTC_USDT_1.ohlcv"),
    ("ccxt:BYBIT:BTC/USDT:USDT@1D", "ccxt_BYBIT_BTC_USDT_USDT_1D.ohlcv"),
    ("capitalcom:brk.b@60", "capitalcom_BRK.B_60.ohlcv"),
])
def test_files_are_named_as_pynecore_names_them(tmp_path: Path, stream: str, name: str) -> None:
    """A recording lies where ``pyne data download`` would put it."""
    assert ohlcv_path(tmp_path, stream) == tmp_path / name


def test_instruments_survive_pynecore(path: Path) -> None:
    """An instrument reads back from the .toml as it was, also after PyneCore has written that again."""
    overnight = structs.replace(ROUND_THE_CLOCK, opening_hours=(Span(6, 64_800, 147_600), Span(0, 0, 86_400)))
    assert from_syminfo(to_syminfo(overnight), "1") == structs.replace(overnight, source="")
    record(path, [bar(0)])
    assert read_instrument(path) == ROUND_THE_CLOCK
    toml = path.with_suffix(".toml")
    symbol = SymInfo.load_toml(toml)
    symbol.description, symbol.sector = "plain", "Coins"
    symbol.save_toml(toml)
    assert read_instrument(path) is not None
    assert read_instrument(path).source == "seed 7"  # type: ignore[union-attr]
    record(path, [bar(1)])
    assert read_instrument(path) == ROUND_THE_CLOCK
    assert SymInfo.load_toml(toml).sector == "Coins"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 10_000_000)] * 4, st.floats(0, 1e9)), min_size=1, max_size=20))
def test_prices_on_the_grid_read_back_exactly(tmp_path_factory: pytest.TempPathFactory,
                                              rows: list[tuple[int, int, int, int, float]]) -> None:
    """Whatever the prices, as long as they are whole ticks: every bit of them is the same afterwards."""
    path = tmp_path_factory.mktemp("grid") / "x.ohlcv"
    bars = []
    for minute, (*ticks, volume) in enumerate(rows):
        low, opened, close, high = (tick / 100 for tick in sorted(ticks))
        bars.append(Bar(START_MS + minute * 60_000, opened, high, low, close, volume))
    record(path, bars)
    assert list(read_bars(path)) == bars
    with OHLCVReader(path) as reader:
        assert reader.lossless_prices


def test_a_price_off_the_grid_rewrites_the_file_and_loses_nothing(path: Path) -> None:
    """PyneCore replaces the file for such a price; the recording goes on in the new one."""
    bars = [bar(0), bar(1), bar(2, 100.123456789), bar(3)]
    file = BarFile(path, ROUND_THE_CLOCK)
    inode, mode = path.stat().st_ino, path.stat().st_mode
    for one in bars:
        file.append([one])
    file.close()
    assert path.stat().st_ino != inode
    assert path.stat().st_mode == mode
    assert list(read_bars(path)) == bars
    at_once = path.with_name("at_once.ohlcv")
    record(at_once, bars)
    assert at_once.read_bytes() == path.read_bytes()


def test_a_file_without_a_grid_is_continued_without_rounding(path: Path) -> None:
    """What PyneCore wrote without a tick grid keeps its values, and what is added is exact."""
    with OHLCVWriter(path, "1") as writer:
        writer.write(OHLCV(bar(0).time_ms, 100.25, 101.0, 99.5, 100.27, 1.5))
    before = list(read_bars(path))
    record(path, [bar(1)], structs.replace(ROUND_THE_CLOCK, source=""))
    assert list(read_bars(path)) == [*before, bar(1)]


def test_one_writer_at_a_time(path: Path) -> None:
    """A second recorder is refused at once, a download of PyneCore's is respected, leftovers are swept."""
    path.with_name(f".{path.name}.k1ll3d.tmp").touch()
    file = BarFile(path, ROUND_THE_CLOCK)
    assert not list(path.parent.glob(".*.tmp"))
    with pytest.raises(Fault, match="being written by another recorder"):
        BarFile(path, ROUND_THE_CLOCK)
    file.close()
    with exclusive_file_lock(f"{path}.lock"), pytest.raises(Fault, match="stop that one"):
        lock(path)
    BarFile(path, ROUND_THE_CLOCK).close()


def test_a_replaced_file_is_noticed_and_what_it_held_is_kept(path: Path) -> None:
    """Bars that only an unlinked file holds are copied; a restart goes on from what is there now."""
    other = path.with_name("other.ohlcv")
    record(other, [bar(0)])
    file = BarFile(path, ROUND_THE_CLOCK)
    file.append([bar(0), bar(1)])
    os.replace(other, path)
    with pytest.raises(Fault, match=r"changed by another program .* kept in demo_BTC_USDT_1\.kept-1\.ohlcv"):
        file.append([bar(2)])
    file.close()
    assert list(read_bars(path.with_suffix(".kept-1.ohlcv"))) == [bar(0), bar(1)]
    record(path, [bar(1), bar(2)])
    assert list(read_bars(path)) == [bar(0), bar(1), bar(2)]


def test_a_foreign_append_is_noticed(path: Path) -> None:
    """A download into the same file takes no lock in PyneCore; its bars are not written over."""
    file = BarFile(path, ROUND_THE_CLOCK)
    file.append([bar(0)])
    with OHLCVWriter(path, "1") as writer:
        writer.write(OHLCV(bar(1).time_ms, 100.25, 101.0, 99.5, 100.5, 1.5))
    with pytest.raises(Fault, match="let nothing else write it"):
        file.append([bar(1)])
    file.close()
    assert [one.close for one in read_bars(path)] == [100.27, 100.5]


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"timeframe": "5"}, "holds bars of timeframe 1, not 5"),
    ({"source": "seed 8"}, "was made from 'seed 7', not from 'seed 8'"),
    ({"source": ""}, "not from a venue"),
])
def test_another_stream_is_refused(path: Path, changes: dict[str, str], sentence: str) -> None:
    """A recording is of one timeframe and one source for ever."""
    record(path, [bar(0)])
    before = path.read_bytes(), path.with_suffix(".toml").read_bytes()
    with pytest.raises(Fault, match=sentence):
        BarFile(path, structs.replace(ROUND_THE_CLOCK, **changes))
    assert (path.read_bytes(), path.with_suffix(".toml").read_bytes()) == before


def test_damage_is_one_sentence(path: Path) -> None:
    """A file that lacks committed bars, is of the old format or not there: a Fault that names it."""
    record(path, [bar(0), bar(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn tail")
    assert last_time_ms(path) == bar(1).time_ms
    assert read_period(path) == "1"
    path.write_bytes(whole[:-10])
    uses = last_time_ms, read_period, lambda path: list(read_bars(path)), lambda path: rewrite(path, [])
    for use in uses:
        with pytest.raises(Fault, match=f"{path.name} is damaged"):
            use(path)
    path.write_bytes(bytes(24))
    with pytest.raises(Fault, match="old format"):
        BarFile(path, ROUND_THE_CLOCK)
    path.with_suffix(".toml").write_text("[symbol")
    with pytest.raises(Fault, match=r"\.toml cannot be read"):
        read_instrument(path)
    path.unlink()
    assert last_time_ms(path) is None
    with pytest.raises(Fault, match="cannot be read: No such file"):
        list(read_bars(path))


FILL = """
import resource, signal, sys
from pathlib import Path
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.ohlcv import BarFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = BarFile(Path(sys.argv[1]), Instrument("BTC/USDT", "1", source="seed 7"))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    for n in range(0, 1000, 10):
        file.append([Bar(1_700_000_040_000 + m * 60_000, 100.25, 101.0, 99.5, 100.27, 1.5)
                     for m in range(n, n + 10)])
except Fault as fault:
    print(fault)
file.close()
"""


def test_a_full_disk_is_a_fault_and_a_restart_goes_on(path: Path) -> None:
    """The file is whole where the disk was full, the sentence names it, and the rest is added later."""
    run = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True, cwd=path.parent,
                         check=True)
    assert f"{path} cannot be written (" in run.stdout
    last_ms = last_time_ms(path)
    assert last_ms is not None
    bars = [bar(minute) for minute in range(200)]
    record(path, [one for one in bars if one.time_ms > last_ms], Instrument("BTC/USDT", "1", source="seed 7"))
    assert list(read_bars(path)) == bars


@pytest.mark.parametrize("nowhere", [float("nan"), float("inf"), float("-inf")])
def test_refuses_exactly_what_pynecore_refuses(tmp_path: Path, nowhere: float) -> None:
    """Whatever a bar is made of: prices in any order, a price or a volume that is no number."""
    with OHLCVWriter(tmp_path / "x.ohlcv", "1", minmove=1, pricescale=100) as writer, writer.batched():
        for time_ms, values in enumerate(itertools.product((1.0, 1.0 + 2**-52, 2.0, nowhere), repeat=5)):
            why = None
            try:
                writer.write(OHLCV(time_ms, *values))
            except ValueError as error:
                why = str(error)
            assert refusal(Bar(time_ms, *values)) == why
