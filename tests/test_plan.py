"""What do scripts need together? Their requests are read, nothing of them is run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from pynelive.bus.messages import Instrument
from pynelive.bus.topology import read
from pynelive.commands.app import main
from pynelive.runners.requests import chart_of, requests_of

SCRIPT = '''"""@pyne"""
from pynecore.lib import *

print(1 / 0)
PAIR = "ETH"


def higher(symbol, timeframe="60"):
    return request.security(symbol, timeframe, close)


@script.indicator("four contexts")
def main(tf=input.timeframe("15"), other=input.symbol("DEMO:ETHUSDT")):
    higher(syminfo.tickerid)
    for each in ["5", tf]:
        request.security(ticker.heikinashi(other), each, close)
    request.security_lower_tf(f"demo:{PAIR}/USDT", "15S" if close > open else "30S", close)
    request.security(other, string.tostring(close), close)
'''
TOPOLOGY = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "ETH/USDT@5"]
options = { speed = 1, files = { "A/B@1" = ["é.csv", 0.5] }, key = { env = "PATH" } }
"""
RUNNER = """
[[runner]]
name = "NAME"
script = "script.py"
stream = "demo:BTC/USDT@1"
inputs = { tf = "30" }
"""


def test_requests_are_followed_through_the_source(tmp_path: Path) -> None:
    """Constants, inputs, choices, loops and the script's own functions; what only a run can tell is said so."""
    (tmp_path / "script.py").write_text(SCRIPT)
    chart = chart_of(Instrument("BTCUSDT", "1", "DEMO"))
    found = requests_of(tmp_path / "script.py", {"tf": "30"}, chart)
    assert {(each.symbol, each.timeframe, each.sure) for each in found} == {
        ("DEMO:BTCUSDT", "60", True), ("DEMO:ETHUSDT", "5", False), ("DEMO:ETHUSDT", "30", False),
        ("demo:ETH/USDT", "15S", False), ("demo:ETH/USDT", "30S", False), ("DEMO:ETHUSDT", None, True),
    }  # fmt: skip


def test_32_scripts_with_4_contexts_share_one_connection_a_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each distinct stream is counted once; --write brings the producers with all of them."""
    four = SCRIPT.replace("string.tostring(close)", '"5"').replace(' if close > open else "30S"', "")
    (tmp_path / "script.py").write_text(four)
    path = tmp_path / "topology.toml"
    path.write_text(TOPOLOGY + "".join(RUNNER.replace("NAME", f"script-{number}") for number in range(32)))
    assert main(["plan", "--json", str(path)]) == 1
    made = json.loads(capsys.readouterr().out)
    contexts = {"demo:BTC/USDT@60", "demo:ETH/USDT@5", "demo:ETH/USDT@30", "demo:ETH/USDT@15S"}
    assert {need["stream"]: need["requests"] for need in made["streams"]} == dict.fromkeys(
        [*contexts, "demo:BTC/USDT@1"], 32
    )
    assert set(made["missing"]) == contexts - {"demo:ETH/USDT@5"}
    assert main(["plan", "--write", str(path)]) == 1
    written = tomllib.loads(capsys.readouterr().out)["producer"]
    assert [set(producer["streams"]) for producer in written] == [
        {each["stream"].removeprefix("demo:") for each in made["streams"]}
    ]
    options = {"speed": 1, "files": {"A/B@1": ["é.csv", 0.5]}, "key": {"env": "PATH"}}  # no secret is told
    assert [producer["options"] for producer in written] == [options]
    bars = {need["stream"]: need["bars"] for need in made["streams"]}
    assert (bars["demo:BTC/USDT@60"], bars["demo:ETH/USDT@15S"]) == (509, 2500)
    streams = json.dumps(written[0]["streams"])
    path.write_text(path.read_text().replace('["BTC/USDT@1", "ETH/USDT@5"]', streams))
    assert read(path)[1] == []
    assert main(["plan", str(path)]) == 0
    said = capsys.readouterr().out
    assert "5 streams for 160 requests: 5 subscriptions at a venue instead of 160" in said
    assert "missing" not in said


def test_named_scripts_need_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a topology a script is planned on the stream that is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    assert main(["plan", str(tmp_path / "script.py")]) == 2
    assert "--stream" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "script.py"), "--stream", "ccxt:BYBIT:BTC/USDT@1"]) == 1
    said = capsys.readouterr().out
    assert "ccxt:BYBIT:BTC/USDT@60" in said
    assert "line 18: DEMO:ETHUSDT@?" in said


def test_what_is_no_timeframe_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the chart it is a fault, in one sentence; of a request it is among what cannot be told."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace('timeframe="60"', 'timeframe="M"'))
    path = tmp_path / "topology.toml"
    path.write_text(TOPOLOGY + RUNNER.replace("demo:BTC/USDT@1", "blah"))
    for words in ([str(path)], [str(script), "--stream", "blah"]):
        assert main(["plan", *words]) == 2
        [said] = capsys.readouterr().err.splitlines()
        assert "script.py, stream: 'blah' names no timeframe: write SYMBOL@TIMEFRAME" in said
    assert main(["plan", str(script), "--stream", "demo:BTC/USDT@1"]) == 1
    assert "line 9: DEMO:BTCUSDT@M" in capsys.readouterr().out
