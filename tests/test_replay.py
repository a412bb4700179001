"""A replay plays exactly what its files hold, once, and refuses what is wrong with them before it begins."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from pynecore.core.ohlcv import OHLCVWriter
from pynecore.types.ohlcv import OHLCV
from pynelive.bus.messages import Bar
from pynelive.bus.names import Key
from pynelive.producers.contract import ConfigError, EndOfData, Update
from pynelive.producers.demo import expected_bars
from pynelive.producers.inferred import decimals
from pynelive.producers.replay import Replay

HEADER = "time,open,high,low,close,volume"
BTC, ETH, AAPL = Key("BTC/USDT", "1"), Key("ETH/USDT", "5"), Key("AAPL", "60")
STYLES: dict[str, Callable[[int], str]] = {
    "ms": str,
    "s": lambda time_ms: str(time_ms // 1000),
    "iso": lambda time_ms: moment(time_ms).isoformat(),
    "zulu": lambda time_ms: f"{moment(time_ms):%Y-%m-%dT%H:%M:%SZ}",
    "naive": lambda time_ms: f"{moment(time_ms):%Y-%m-%d %H:%M:%S}",
    "date": lambda time_ms: f"{moment(time_ms):%Y-%m-%d}",
    "basic": lambda time_ms: f"{moment(time_ms):%Y%m%d}",
}


def moment(time_ms: int) -> datetime:
    """A time of the bus as a date."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def recorded(key: Key, count: int) -> list[Bar]:
    """Bars of a demo as a replay plays them."""
    return [replace(bar, origin="replay") for bar in expected_bars(7, key, 0, count)]


def write_csv(path: Path, bars: Iterable[Bar], style: str = "ms", header: str = HEADER) -> None:
    """A CSV with times in one of the styles."""
    rows = [f"{STYLES[style](b.time_ms)},{b.open},{b.high},{b.low},{b.close},{b.volume}" for b in bars]
    path.write_text("\n".join([header, *rows, ""]))


def replay(folder: Path, files: dict[Key, str], **options: object) -> Replay:
    """A replay as fast as possible."""
    named = {str(key): file for key, file in files.items()}
    return Replay(list(files), Replay.Config(named, **{"speed": 0, **options}), folder)  # type: ignore[arg-type]


async def play(source: Replay) -> list[Update]:
    """Everything that a replay says."""
    seen: list[Update] = []
    await source.connect()
    with suppress(EndOfData):
        async for update in source.watch():
            seen.append(update)
    return seen


@pytest.mark.parametrize(("style", "timeframe"), [
    ("ms", "1"), ("s", "1"), ("iso", "30S"), ("zulu", "1"), ("naive", "60"), ("date", "1D"), ("basic", "1D")])
async def test_a_csv_is_played_as_it_was_written(style: str, timeframe: str, tmp_path: Path) -> None:
    """Every way to write the time gives the same bars, whatever the case of the header."""
    key = Key("BTC/USDT", timeframe)
    bars = recorded(key, 300)
    write_csv(tmp_path / "x.csv", bars, style, header="Timestamp, Open,HIGH,Low,Close,Volume")
    assert [update.message for update in await play(replay(tmp_path, {key: "x.csv"}))] == bars


async def test_a_compressed_csv_of_many_symbols_in_a_package_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the rows of the stream's symbol count, and the package itself is never imported."""
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package/__init__.py").write_text("raise RuntimeError('imported')")
    bars = {key: recorded(key, 20) for key in (AAPL, Key("IBM", "60"))}
    rows = [f"{key.symbol},{b.time_ms},{b.open},{b.high},{b.low},{b.close},{b.volume},9"
            for key, of_key in bars.items() for b in of_key]
    with gzip.open(tmp_path / "a_package/x.csv.gz", "wt") as file:
        file.write("\n".join([f"Ticker,{HEADER},Adj Close", *rows]))
    monkeypatch.syspath_prepend(tmp_path)
    packed = "package:a_package/x.csv.gz"
    source = replay(tmp_path, dict.fromkeys(bars, packed))
    said = await play(source)
    assert {key: [update.message for update in said if update.key == key] for key in bars} == bars
    assert "a_package" not in sys.modules
    with pytest.raises(ConfigError, match="no rows of 'MSFT': its tickers are AAPL, IBM"):
        await replay(tmp_path, {Key("MSFT", "60"): packed}).connect()
    with pytest.raises(ConfigError, match="not installed: pip install no-such-package"):
        replay(tmp_path, {AAPL: "package:no_such_package/x.csv"})
    (tmp_path / "torn.csv.gz").write_bytes((tmp_path / "a_package/x.csv.gz").read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"torn\.csv\.gz cannot be read"):
        await replay(tmp_path, {AAPL: "torn.csv.gz"}).connect()


async def test_an_ohlcv_file_is_played_with_its_extra_values(tmp_path: Path) -> None:
    """PyneCore's own files come back bit by bit."""
    bars = [replace(bar, extra={"rsi": float(number)}) for number, bar in enumerate(recorded(BTC, 50))]
    with OHLCVWriter(tmp_path / "x.ohlcv", "1", minmove=1, pricescale=100) as writer:
        for bar in bars:
            writer.write(OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.extra))
    assert [update.message for update in await play(replay(tmp_path, {BTC: "x.ohlcv"}))] == bars
    five = Key("BTC/USDT", "5")
    with pytest.raises(ConfigError, match="holds bars of 1, its stream says @5"):
        await replay(tmp_path, {five: "x.ohlcv"}).connect()


async def test_files_are_merged_by_the_time_at_which_bars_close(tmp_path: Path) -> None:
    """A five-minute bar comes after the five minutes that it is made of, not before."""
    write_csv(tmp_path / "btc.csv", recorded(BTC, 60))
    write_csv(tmp_path / "eth.csv", recorded(ETH, 12))
    updates = await play(replay(tmp_path, {ETH: "eth.csv", BTC: "btc.csv"}))
    length = {BTC: 60_000, ETH: 300_000}
    ends = [message.time_ms + length[key] for key, message, _ in updates if isinstance(message, Bar)]
    assert ends == sorted(ends)
    assert len(ends) == 72


@pytest.mark.parametrize("last", [0, 7, 19])
async def test_what_was_played_is_not_played_again(last: int, tmp_path: Path) -> None:
    """After a restart the replay goes on behind the last bar of the bus, and offers what lies before it."""
    bars = recorded(AAPL, 20)
    write_csv(tmp_path / "x.csv", bars)
    source = replay(tmp_path, {AAPL: "x.csv"}, forming=3)
    await source.get_symbol_info(AAPL)
    source.resume_after(AAPL, bars[last].time_ms)
    assert await source.download_ohlcv(AAPL, 0, 2**53) == bars[:last + 1]
    assert await source.download_ohlcv(AAPL, 0, bars[0].time_ms) == []
    messages = [update.message for update in await play(source)]
    assert [bar for bar in messages if isinstance(bar, Bar) and bar.closed] == bars[last + 1:]
    assert len(messages) == 4 * (19 - last)


async def test_pauses_are_cut_faster_than_real_time(tmp_path: Path) -> None:
    """A night without bars does not stop a replay at ten thousand times the speed."""
    bars = recorded(AAPL, 15)
    write_csv(tmp_path / "x.csv", bars)
    assert [update.message for update in await play(replay(tmp_path, {AAPL: "x.csv"}, speed=500_000))] == bars


@pytest.mark.parametrize(("rows", "said"), [
    ("", "holds no bars"),
    ("1735000000,1,2,0.5,x,3", "line 2: close 'x' is no number"),
    ("1735000000,1,2,0.5", "line 2: has 4 columns, fewer than the header"),
    ("yesterday,1,2,0.5,1,3", "line 2: time 'yesterday' is neither Unix time nor ISO 8601"),
    ("1735000000,1,2,0.5,1,3\n1735000000,1,2,0.5,1,3", "line 3: time 2024-12-24T00:26:40+00:00 is there"),
    ("1735000060,1,2,0.5,1,3\n\n1735000000,1,2,0.5,1,3", "line 4: time 2024-12-24T00:26:40+00:00 is before"),
    ("1735000000,1,2,3,1,3", "line 2: open 1.0, high 2.0, low 3.0, close 1.0 is no candle"),
    ("1735000000,1,nan,0.5,1,3", "line 2: open 1.0, high nan"),
    ("1735000000,1,2,0.5,1,inf", "line 2: volume inf is no number"),
    ("1735000000,1,2,1,1,3\n1735000001,1,2,1,1,3", "bars 1 s apart, which is too close for its stream's @1"),
])
async def test_a_wrong_row_is_named_before_anything_is_played(rows: str, said: str, tmp_path: Path) -> None:
    """File, line and what is wrong there: one sentence."""
    (tmp_path / "x.csv").write_text(f"{HEADER}\n{rows}\n")
    with pytest.raises(ConfigError) as caught:
        await replay(tmp_path, {BTC: "x.csv"}).get_symbol_info(BTC)
    [sentence] = caught.value.problems
    assert sentence.startswith(str(tmp_path / "x.csv"))
    assert said in sentence


async def test_the_faults_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    """Each broken file has its sentence."""
    (tmp_path / "a.csv").write_text("when,open,high,low,close\n")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError) as caught:
        await replay(tmp_path, {BTC: "a.csv", ETH: "b.csv"}).connect()
    header, encoding = caught.value.problems
    assert "a.csv, line 1: the header lacks time, volume" in header
    assert "b.csv cannot be read" in encoding


def test_streams_and_files_must_agree(tmp_path: Path) -> None:
    """All faults of the options at once, each naming its key."""
    (tmp_path / "x.parquet").write_text("")
    files = {"ETH/USDT@1": "x.parquet", "SOL/USDT@1": "gone.csv"}
    config = Replay.Config(files, speed=-1, syminfo={"XRP/USDT@1": "gone.toml"})
    with pytest.raises(ConfigError) as caught:
        Replay([BTC], config, tmp_path)
    said = "\n".join(caught.value.problems)
    for part in ("lacks stream 'BTC/USDT@1'", "'ETH/USDT@1', which is no stream", "'SOL/USDT@1', which is no",
                 "'XRP/USDT@1', which is no stream", "'speed' is -1", "neither .ohlcv nor .csv",
                 f"no file {tmp_path / 'gone.csv'}", f"no file {tmp_path / 'gone.toml'}"):
        assert part in said
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize(("key", "count", "zone", "days"), [
    (BTC, 10, "UTC", 7), (Key("BTC/USDT", "240"), 60, "UTC", 7), (AAPL, 40, "America/New_York", 5)])
async def test_hours_are_inferred_from_the_bars(
    key: Key, count: int, zone: str, days: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Crypto trades round the clock, New York's hours are recognised, and one line says what was inferred."""
    write_csv(tmp_path / "x.csv", recorded(key, count))
    with caplog.at_level("INFO", "pynelive"):
        instrument = await replay(tmp_path, {key: "x.csv"}).get_symbol_info(key)
    assert (instrument.timezone, len(instrument.opening_hours)) == (zone, days)
    assert (instrument.mintick, instrument.pricescale) == (0.01, 100)
    assert ["inferred a tick of 0.01" in line for line in caplog.messages] == [True]


async def test_daily_bars_of_weekdays_keep_their_dates(tmp_path: Path) -> None:
    """Days at midnight UTC, no weekends, are weekdays in UTC: New York would move them to the day before."""
    days = [bar for bar in recorded(Key("BTC/USDT", "1D"), 30)
            if moment(bar.time_ms).weekday() < 5]
    write_csv(tmp_path / "x.csv", days, "date")
    key = Key("AAPL", "1D")
    instrument = await replay(tmp_path, {key: "x.csv"}).get_symbol_info(key)
    assert (instrument.timezone, [span.day for span in instrument.opening_hours]) == ("UTC", [0, 1, 2, 3, 4])


async def test_the_source_is_the_content(tmp_path: Path) -> None:
    """Another file under the same name is noticed by its instrument."""
    write_csv(tmp_path / "x.csv", recorded(BTC, 5))
    before = await replay(tmp_path, {BTC: "x.csv"}).get_symbol_info(BTC)
    assert (await replay(tmp_path, {BTC: "x.csv"}).get_symbol_info(BTC)) == before
    write_csv(tmp_path / "x.csv", recorded(BTC, 6))
    assert (await replay(tmp_path, {BTC: "x.csv"}).get_symbol_info(BTC)).source != before.source


async def test_a_symbol_file_is_preferred(tmp_path: Path) -> None:
    """A PyneCore symbol file, given or beside the data, is what the stream is."""
    write_csv(tmp_path / "x.csv", recorded(BTC, 5))
    (tmp_path / "given.toml").write_text(SYMBOL)
    given = await replay(tmp_path, {BTC: "x.csv"}, syminfo="given.toml").get_symbol_info(BTC)
    assert (given.ticker, given.prefix, given.pricescale, given.timeframe) == ("XBT", "ACME", 10, "1")
    (tmp_path / "x.toml").write_text(SYMBOL)
    assert await replay(tmp_path, {BTC: "x.csv"}).get_symbol_info(BTC) == given


@pytest.mark.parametrize(("prices", "digits"), [
    ([100.0, 7.0], 0), ([1.5, 2.25], 2), ([0.1 + 0.2], 9), ([98852.44], 2), ([1e-9], 9)])
def test_the_tick_is_what_the_prices_need(prices: list[float], digits: int) -> None:
    """As many decimals as the prices have, as far as PyneCore's files can say it."""
    assert decimals(prices) == digits


SYMBOL = """[symbol]
prefix = "ACME"
description = "A test"
ticker = "XBT"
currency = "USD"
period = "1"
type = "crypto"
mintick = 0.1
pricescale = 10
minmove = 1
pointvalue = 1.0
mincontract = 0.001
timezone = "UTC"
volumetype = "base"

[[opening_hours]]
day = 0
start = "00:00:00"
end = "23:59:59"

[[session_starts]]
day = 0
time = "00:00:00"

[[session_ends]]
day = 0
time = "23:59:59"
"""
