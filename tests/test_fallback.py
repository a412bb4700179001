"""Stand-ins: while a venue is down, another one's bars, kept apart; the venue's own follow when it is back."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from pynelive.bus.messages import Bar, Executed, State
from pynelive.bus.topology import read
from pynelive.producers import clock
from pynelive.producers.contract import Capabilities
from pynelive.producers.ledger import same
from pynelive.producers.sessions import EPOCH_MS
from test_lane import MINUTE, T0, Said, lane_for
from topologies import Bench, candles, running, wait_for
from venues.client import Lab, TrueBar, lab

SPEED = 60
OWN, OTHER = "ccxt:BYBIT:BTC/USDT:USDT@1", "ccxt:BINANCE:BTC/USDT@1"
INDICATOR = '"""@pyne"""\nfrom pynecore.lib import close, plot, script\n\n' \
            '@script.indicator("Made for a test")\ndef main():\n    plot(close, "close")\n'
TABLES = f"""
[[producer]]
name = "binance"
provider = "ccxt"
streams = ["BINANCE:BTC/USDT@1"]
options = {{ url = "BINANCE_HTTP", ws_url = "BINANCE_WS" }}

[[producer]]
name = "bybit"
provider = "ccxt"
streams = ["BYBIT:BTC/USDT:USDT@1"]
fallback = {{ "BYBIT:BTC/USDT:USDT@1" = ["{OTHER}"] }}
options = {{ url = "BYBIT_HTTP", ws_url = "BYBIT_WS" }}

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["ccxt:BYBIT:*"]
options = {{ dir = "data" }}
"""
RUNNER = f"""
[[runner]]
name = "NAME"
script = "SCRIPT"
stream = "{OWN}"
history = 0
"""


def bench_of(folder: Path, binance: Lab, bybit: Lab) -> Bench:
    """Both venues, a recorder, and three scripts: one for own bars only, one for all, and one that may not."""
    (folder / "indicator.py").write_text(INDICATOR)
    (folder / "strategy.py").write_text(INDICATOR.replace("indicator(", "strategy("))
    tables = TABLES
    for name, venue in (("BINANCE", binance), ("BYBIT", bybit)):
        tables = tables.replace(f"{name}_HTTP", venue.http).replace(f"{name}_WS", venue.ws)
    for name, script, more in (("strict", "indicator.py", ""), ("eager", "indicator.py", "fallback = true"),
                               ("greedy", "strategy.py", "fallback = true")):
        tables += RUNNER.replace("NAME", name).replace("SCRIPT", script) + more + "\n"
    return Bench(folder, tables)


def bars_of(bench: Bench) -> list[Bar]:
    """The closed bars of the stream so far, as they were said."""
    if not any((bench.run_dir / "journal").glob("bybit/*")):
        return []
    return [m for m in bench.published("bybit", OWN) if isinstance(m, Bar)]


def executed(bench: Bench, name: str) -> dict[int, Bar]:
    """The closed bars that a script was fed with."""
    said = bench.published(name, f"run:{name}")
    return {m.bar.time_ms: m.bar for m in said if isinstance(m, Executed) and m.bar.closed}


def values(bar: Bar | TrueBar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def test_a_venue_is_down_and_another_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bars are marked and kept apart, and replaced by the venue's own, which scripts and recording end up with."""
    monkeypatch.setenv(clock.VARIABLE, f"{EPOCH_MS},{time.time()!r},{SPEED}")  # one time for both venues
    with lab("binance", "BTC/USDT", epoch_ms=0) as binance, lab("bybit", "BTC/USDT:USDT", epoch_ms=0, seed=8) as bybit:
        bench = bench_of(tmp_path, binance, bybit)
        with running(bench) as up:
            wait_for(lambda: len(bars_of(bench)) >= 3)
            bybit.arm("rest:*", "maintenance", retry_after=360)
            bybit.arm("ws:BTCUSDT", "abort")
            stood_in = wait_for(lambda: [b for b in bars_of(bench) if b.origin == "fallback"])
            wait_for(lambda: {b.time_ms for b in stood_in} <= {b.time_ms for b in bars_of(bench) if b.revision})
            count = len(bars_of(bench))
            wait_for(lambda: len(bars_of(bench)) > count + 2)
            up.send_signal(signal.SIGINT)
            ended = bench.end(up)
        truth = {bar.time_ms: values(bar) for bar in bybit.truth("BTC/USDT:USDT")}
        others = {bar.time_ms: values(bar) for bar in binance.truth("BTC/USDT")}

    bars = bars_of(bench)
    stood_in = [bar for bar in bars if bar.origin == "fallback"]
    assert stood_in
    assert all(bar.extra and bar.extra["source"] == OTHER and not bar.revision for bar in stood_in)
    assert {bar.time_ms: values(bar) for bar in stood_in} == {bar.time_ms: others[bar.time_ms] for bar in stood_in}
    firsts = [bar.time_ms for bar in bars if not bar.revision]
    assert firsts == list(range(firsts[0], firsts[-1] + 1, 60_000))
    own = [bar.time_ms for bar in bars if bar.origin != "fallback"]
    firsts = [time_ms for time_ms in firsts if time_ms <= max(own)]  # a busy venue may just have been down again
    assert {bar.time_ms: values(bar) for bar in bars if bar.time_ms in firsts} == {t: truth[t] for t in firsts}
    assert "down" in {m.state for m in bench.published("bybit", OWN) if isinstance(m, State)}
    assert not any((bench.run_dir / "quarantine").glob("*"))

    [recording] = tmp_path.glob("data/*.ohlcv")
    aside = recording.with_suffix(".fallback.csv").read_text().splitlines()[1:]
    assert [int(line.split(",")[0]) for line in aside] == [bar.time_ms for bar in stood_in]
    assert {bar[0]: bar[1:] for bar in candles(recording)} == {t: truth[t] for t in firsts}

    strict, eager = executed(bench, "strict"), executed(bench, "eager")
    assert {t: values(bar) for t, bar in strict.items()} == {t: truth[t] for t in strict}
    assert [bar.origin for bar in strict.values() if bar.origin == "fallback"] == []
    assert list(strict) == firsts
    assert {t for t, bar in eager.items() if bar.origin == "fallback"} == {bar.time_ms for bar in stood_in}
    assert ended.code == 1
    assert "runner 'greedy': a strategy may not trade on the bars of a stand-in: remove fallback = true" in ended.output


def test_an_outage_longer_than_what_is_remembered(tmp_path: Path) -> None:
    """200 stand-ins, each replaced once by the venue's own, the 201st bar live behind them; a hole asks for no more."""
    said = Said()
    lane = lane_for(said, tmp_path, Capabilities(heals=True), recheck=())
    truth = [Bar(T0 + n * MINUTE, 10.0, 12.0, 9.0, 11.0, float(n + 1), origin="backfill") for n in range(202)]
    now_ms = T0 + MINUTE
    lane.take(replace(truth[0], origin="venue"), now_ms)
    for bar in truth[1:201]:
        lane.stand_in(replace(bar, close=10.5, origin="fallback"))
    now_ms = T0 + 201 * MINUTE + 1000
    lane.connected(now_ms)
    assert lane.wants(now_ms, polled=False) == "heal"
    assert lane.since_ms(now_ms) < truth[1].time_ms
    lane.answered("heal", truth[:150], now_ms)  # the rest lags
    assert lane.since_ms(now_ms) < truth[150].time_ms
    lane.answered("heal", truth[100:201], now_ms)
    lane.take(replace(truth[201], origin="venue"), now_ms + MINUTE)

    assert [bar.time_ms for bar in said.bars if not bar.revision] == [bar.time_ms for bar in truth]
    revised = {bar.time_ms: bar for bar in said.bars if bar.revision}
    assert [bar.time_ms for bar in said.bars if bar.revision] == [bar.time_ms for bar in truth[1:201]]
    assert all(same(revised[bar.time_ms], bar) for bar in truth[1:201])
    assert lane.since_ms(now_ms + MINUTE) >= truth[199].time_ms


@pytest.mark.parametrize(("fallback", "said"), [
    ('"BYBIT:BTC/USDT@1" = ["OTHER"]', "'BYBIT:BTC/USDT@1' is none of its streams: did you mean"),
    ('"KEY" = ["ccxt:BINANCE:BTC/USD@1"]', "no other producer publishes 'ccxt:BINANCE:BTC/USD@1': did you mean"),
    (f'"KEY" = ["{OWN}"]', f"no other producer publishes '{OWN}'"),
    ('"KEY" = ["ccxt:BINANCE:ETH/USDT@5"]', "'ccxt:BINANCE:ETH/USDT@5' is of another timeframe than"),
    ('"KEY" = "OTHER"', "fallback: must be list"),
])  # fmt: skip
def test_faults_of_a_fallback(fallback: str, said: str, tmp_path: Path) -> None:
    """Found by `check`, each with its place."""
    own = OWN.partition(":")[2]
    declared = fallback.replace("KEY", own).replace("OTHER", OTHER)
    tables = TABLES.replace('"BINANCE:BTC/USDT@1"]', '"BINANCE:BTC/USDT@1", "BINANCE:ETH/USDT@5"]', 1)
    tables = tables.replace(f'"{own}" = ["{OTHER}"]', declared)
    for name in ("BINANCE", "BYBIT"):
        tables = tables.replace(f"{name}_HTTP", "").replace(f"{name}_WS", "")
    bench = Bench(tmp_path, tables)
    _, problems = read(bench.path)
    assert any(said in problem and "[[producer]] bybit" in problem for problem in problems), problems
