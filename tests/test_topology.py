"""A topology file: what it means when it is sound, and that every fault is said, at once and in words."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pynelive.bus import graph
from pynelive.bus.errors import TopologyError
from pynelive.bus.specs import BusSpec, JournalSpec, ProducerSpec, RunnerSpec, SinkSpec, seats_of
from pynelive.bus.topology import Topology, load, read
from pynelive.commands import app

SOUND = """
[bus]
name = "b"
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "AAPL@1"]
[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
[[runner]]
name = "ema"
script = "ema.py"
stream = "demo:BTC/USDT@1"
"""

INSTANCES = SOUND.replace('stream = "demo:BTC/USDT@1"', """
instances.btc = { stream = "demo:BTC/USDT@1" }
instances.aapl = { stream = "demo:AAPL@1", inputs = { length = 5 } }
""")


def written(folder: Path, text: str) -> Path:
    """The text as a topology file, beside a script and a provider."""
    (folder / "ema.py").touch()
    (folder / "mine.py").write_text('class Mine:\n    name = "mine"\n\n\nclass Helper:\n    pass\n')
    path = folder / "topology.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with the file, for the bus alone."""
    try:
        return read(written(folder, text))[1]
    except TopologyError as error:
        return error.problems


def test_a_sound_topology_says_who_publishes_and_who_reads(tmp_path: Path) -> None:
    """Names are expanded, patterns too, and paths start at the file."""
    topology = load(written(tmp_path, SOUND))
    demo, ema, recorder = topology.actors
    assert [topology.role(spec) for spec in topology.actors] == ["producer", "runner", "sink"]
    assert topology.published(demo) == ["demo:BTC/USDT@1", "demo:AAPL@1"]
    assert topology.published(ema) == ["run:ema"]
    assert topology.published(recorder) == []
    assert topology.consumed(recorder) == ["demo:BTC/USDT@1", "demo:AAPL@1"]
    assert topology.consumed(ema) == ["demo:BTC/USDT@1"]
    assert topology.consumers("demo:BTC/USDT@1") == ["ema", "recorder"]
    assert topology.consumers("run:ema") == []
    assert topology.actor("ema") is ema
    assert topology.run_dir == tmp_path / ".pynelive" / "b"
    assert topology.resolve("data") == tmp_path / "data"
    with pytest.raises(TopologyError, match=r"no actor 'emma'.*did you mean 'ema'"):
        topology.actor("emma")


def test_instances_are_runners_of_one_process(tmp_path: Path) -> None:
    """Each publishes a stream of its own, and the runner reads what any of them is fed with."""
    topology = load(written(tmp_path, INSTANCES + "inputs = { length = 20, width = 2 }"))
    runner = topology.runners[0]
    assert topology.published(runner) == ["run:ema/btc", "run:ema/aapl"]
    assert topology.consumed(runner) == ["demo:BTC/USDT@1", "demo:AAPL@1"]
    assert [seat.inputs for seat in seats_of(runner)] == [{"length": 20, "width": 2}, {"length": 5, "width": 2}]


def test_a_provider_in_a_file_names_its_streams(tmp_path: Path) -> None:
    """The prefix of a file's provider is its class's name, known without running the file."""
    for provider in ("mine.py", "mine.py:Mine"):
        text = SOUND.replace('provider = "demo"', f'provider = "{provider}"').replace("demo:", "mine:")
        topology = load(written(tmp_path, text))
        assert topology.consumers("mine:AAPL@1") == ["recorder"]


FAULTS = {
    "broken TOML": ("[bus]\nname = \n[x]", ["topology.toml is no TOML", "line 2"]),
    "unknown table": (SOUND + '[[sinks]]\nname = "x"', ["[sinks]", "did you mean 'sink'?"]),
    "unknown key": (SOUND.replace("type =", "typ ="), ["[[sink]] recorder", "'typ'", "did you mean 'type'?"]),
    "missing key": (SOUND.replace("type =", "typ ="), ["[[sink]] recorder", "'type' is missing"]),
    "key of [bus]": (SOUND.replace('name = "b"', 'nam = "b"'), ["[bus]", "'nam'", "'name'"]),
    "wrong type": (SOUND + 'history = "x"', ["[[runner]] ema, history", "must be int, not string"]),
    "too small": (SOUND + "history = -1", ["[[runner]] ema, history", "must be int >= 0, not -1"]),
    "wrong item": (SOUND.replace('"AAPL@1"', "1"), ["[[producer]] demo, streams", "string, not int", "item 2"]),
    "no streams": (SOUND.replace('["demo:*"]', "[]"), ["[[sink]] recorder, streams", "length >= 1"]),
    "wrong choice": (SOUND + 'updates = "any"', ["[[runner]] ema, updates", "'all'", "not 'any'"]),
    "nested key": (SOUND + "journal = { max_md = 1 }", ["[[runner]] ema, journal", "did you mean 'max_mb'?"]),
    "single table": ('[producer]\nname = "a"', ["write [[producer]]"]),
    "no table": ("producer = 3", ["[[producer]] number 1 must be a table"]),
    "no producer": ("", ["there is no [[producer]]"]),
    "same name": (SOUND.replace('"recorder"', '"ema"'), ["'ema' is taken by"]),
    "no file name": (SOUND.replace('"recorder"', '"a/b"'), ["[[sink]] a/b, name", "letters, digits"]),
    "reserved name": (SOUND.replace('"recorder"', '"supervisor"'), ["[[sink]] supervisor", "choose another"]),
    "long name": (SOUND.replace('"recorder"', f'"{"a" * 65}"'), ["at most 64"]),
    "name of the bus": (SOUND.replace('"b"', '".."'), ["[bus], name", "letters, digits"]),
    "published twice": (
        SOUND + '[[producer]]\nname = "d2"\nprovider = "demo"\nstreams = ["AAPL@1"]',
        ["[[producer]] d2", "'demo:AAPL@1' is published by [[producer]] demo"],
    ),
    "nobody publishes": (
        SOUND.replace("demo:*", "dema:AAPL@1"),
        ["[[sink]] recorder", "nobody publishes 'dema:AAPL@1'", "did you mean 'demo:AAPL@1'"],
    ),
    "no script": (SOUND.replace("ema.py", "eva.py"), ["[[runner]] ema, script", "no file", "eva.py"]),
    "many streams": (SOUND.replace("demo:BTC/USDT@1", "demo:*"), ["[[runner]] ema, stream", "one stream"]),
    "no bars": (SOUND.replace("demo:BTC/USDT@1", "run:ema"), ["[[runner]] ema, stream", "reads bars"]),
    "no stream": (SOUND.replace('stream = "demo:BTC/USDT@1"', ""), ["[[runner]] ema", "[runner.instances]"]),
    "stream and instances": (SOUND + 'instances = { a = { stream = "demo:AAPL@1" } }', ["ema", "not both"]),
    "name of an instance": (INSTANCES.replace("aapl", '"a/b"'), ["[[runner]] ema, instances", "letters, digits"]),
    "circle of an instance": (
        INSTANCES.replace("demo:AAPL@1", "run:ema/btc").replace("demo:BTC/USDT@1", "run:ema/aapl") + 'type = "x"',
        ["ema, stream: 'run:ema/btc' comes from its own output"],
    ),
    "circle": (SOUND.replace("demo:BTC/USDT@1", "run:ema") + 'type = "x"', ["ema, stream", "its own output"]),
    "no timeframe": (SOUND.replace("AAPL@1", "AAPL"), ["[[producer]] demo, streams", "names no timeframe"]),
    "bad timeframe": (SOUND.replace("AAPL@1", "AAPL@1x"), ["[[producer]] demo, streams", "no timeframe"]),
    "pattern to produce": (SOUND.replace("AAPL@1", "*@1"), ["[[producer]] demo, streams", "spelled out"]),
    "no symbol": (SOUND.replace("AAPL@1", "@1"), ["[[producer]] demo, streams: '@1' names no symbol", "BTC/USDT@1"]),
    "data of nobody": (SOUND + 'data = ["demo:AAPL@5"]', ["[[runner]] ema, data: nobody", "'demo:AAPL@1'"]),
    "no provider": (SOUND.replace('r = "demo"', 'r = "no.py"'), ["[[producer]] demo, provider", "no.py"]),
    "no prefix": (SOUND.replace('r = "demo"', 'r = "ema.py"'), ["[[producer]] demo, provider", "name ="]),
    "no secret": (SOUND + 'options = { key = { env = "NO_SUCH" } }', ["options.key", "NO_SUCH", ".env"]),
    "no secret file": (SOUND + 'options = { key = { file = "none" } }', ["options.key", "cannot be read"]),
}


ONE = {
    "instance without a stream": (
        INSTANCES.replace('btc = { stream = "demo:BTC/USDT@1" }', "btc = {}"),
        "[[runner]] ema, instances.btc: 'stream' is missing",
    ),
    "key of an instance": (
        INSTANCES.replace("inputs", "inputz"),
        "[[runner]] ema, instances.aapl: unknown key 'inputz': did you mean 'inputs'?",
    ),
    "type in an instance": (
        INSTANCES.replace('"demo:AAPL@1"', "5"),
        "[[runner]] ema, instances.aapl, stream: must be string, not int",
    ),
    "one stream without its list": (
        SOUND.replace('["demo:*"]', '"demo:*"'),
        '[[sink]] recorder, streams: must be a list: write ["demo:*"]',
    ),
    "only its own output to choose from": (
        INSTANCES.replace("instances.", 'data = ["run:emma/btc"]\ntype = "x"\ninstances.', 1),
        "[[runner]] ema, data: nobody publishes 'run:emma/btc': there is demo:BTC/USDT@1, demo:AAPL@1",
    ),
}


@pytest.mark.parametrize(("text", "said"), ONE.values(), ids=ONE.keys())
def test_one_fault_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """What follows from it is not said too."""
    assert problems(tmp_path, text) == [said]


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_names_its_place_and_its_mend(tmp_path: Path, text: str, said: list[str]) -> None:
    """One sentence holds the table, the key and what would be right."""
    found = problems(tmp_path, text)
    assert any(all(part in problem for part in said) for problem in found), found


def test_all_faults_are_said_at_once_and_none_twice(tmp_path: Path) -> None:
    """Faults of several tables come together, and a fault does not make others out of what depends on it."""
    text = SOUND.replace("type =", "typ =").replace("ema.py", "eva.py").replace("AAPL@1", "AAPL")
    text = text.replace('provider = "demo"', 'provider = "demo"\nspeed = 3')
    found = problems(tmp_path, text + 'history = "x"')
    assert len(found) == 6, found  # typ, type missing, script, timeframe, speed, history
    assert len(problems(tmp_path, SOUND.replace('provider = "demo"', ""))) == 1


def test_a_missing_file_leads_to_init(tmp_path: Path) -> None:
    """The first thing that a newcomer meets says how to go on."""
    with pytest.raises(TopologyError, match=r"nowhere.toml.*pynelive init"):
        load(tmp_path / "nowhere.toml")


def test_what_a_table_within_a_table_says_holds(tmp_path: Path) -> None:
    """Beside defaults that are nothing, too."""
    text = SOUND.replace('provider = "demo"', 'provider = "demo"\nquality = { hold_s = 7 }')
    quality = load(written(tmp_path, text)).producers[0].quality
    assert (quality.hold_s, quality.recheck_s) == (7, None)



def test_a_journal_keeps_the_defaults_that_are_not_named(tmp_path: Path) -> None:
    """Setting one key of a journal does not reset the others to another role's."""
    runner = load(written(tmp_path, SOUND + "journal = { sync_ms = 5 }")).runners[0]
    assert (runner.journal.sync_ms, runner.journal.max_mb) == (5, 1024)


SECRET = "hunter2-hunter2"


@pytest.fixture
def secretive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Topology:
    """A topology with secrets from the environment, `.env` and a file."""
    monkeypatch.setenv("FROM_ENV", SECRET)
    (tmp_path / ".env").write_text(f"FROM_DOTENV={SECRET}\nFROM_ENV=loses\n")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    references = '{ a = { env = "FROM_ENV" }, b = [{ file = "key" }], c = { d = { env = "FROM_DOTENV" } } }'
    return load(written(tmp_path, SOUND + f"options = {references}"))


def test_secrets_reach_the_actor_and_nobody_else(secretive: Topology) -> None:
    """The environment wins over `.env`; repr, graphs and JSON show stars."""
    options = secretive.runners[0].options
    assert options == {"a": SECRET, "b": [SECRET], "c": {"d": SECRET}}
    shown = [repr(secretive), graph.tree(secretive), graph.dot(secretive), graph.to_json(secretive)]
    assert not any(SECRET in text for text in shown)
    assert json.loads(shown[-1])["actors"][1]["options"] == {"a": "***", "b": ["***"], "c": {"d": "***"}}


def test_a_secret_does_not_show_in_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret in the place of a number is refused without being told."""
    monkeypatch.setenv("FROM_ENV", SECRET)
    options = 'options.seed = { env = "FROM_ENV" }'
    path = written(tmp_path, SOUND.replace('name = "demo"', f'name = "demo"\n{options}'))
    assert app.main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "seed" in said
    assert SECRET not in said


def test_the_graph_shows_every_stream_and_reader(tmp_path: Path) -> None:
    """Tree, Graphviz and JSON say the same."""
    topology = load(written(tmp_path, SOUND))
    tree, dot, data = graph.tree(topology), graph.dot(topology), json.loads(graph.to_json(topology))
    assert all(stream in tree for stream in topology.streams)
    assert "run:ema  (nobody reads it)" in tree
    assert '"demo" -> "recorder" [label="demo:BTC/USDT@1\\ndemo:AAPL@1"];' in dot
    assert {(edge["from"], edge["to"]) for edge in data["edges"]} == {("demo", "ema"), ("demo", "recorder")}


def test_plugins_faults_join_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown providers, sinks, runners and options are in the list, each with the nearest name."""
    text = SOUND.replace('type = "ohlcv"', 'type = "ohlc"').replace("ema.py", "eva.py") + 'type = "pine"\n'
    text += '[[producer]]\nname = "d2"\nprovider = "demo"\nstreams = ["X@1"]\noptions = { sped = 1 }\n'
    text += '[[producer]]\nname = "d3"\nprovider = "dema"\nstreams = ["X@1"]\n'
    assert app.main(["check", str(written(tmp_path, text))]) == 2
    said = capsys.readouterr().err
    for part in ("'ohlcv'", "'pyne'", "'speed'", "'demo'", "eva.py"):
        assert part in said


def test_a_dashboard_that_could_not_serve_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence each: who lets others in, ports and hosts that there are not."""
    options = ["{ host = '0.0.0.0' }", "{ port = 99999, bars = -5 }", "{ host = 'no..host' }",
               "{ host = '0.0.0.0', token = { env = 'NO_SUCH' } }", "{ host = '::1', port = 0, bars = 1 }"]
    text = SOUND + "".join(f"[[sink]]\nname = 'w{at}'\ntype = 'web'\nstreams = ['*']\noptions = {each}\n"
                           for at, each in enumerate(options))
    assert app.main(["check", str(written(tmp_path, text))]) == 2
    words = ["w3, options.token: NO_SUCH is not in the environment", "w0: option 'token' is missing",
             "w1: option 'port' is 99999",
             "w1: option 'bars' is -5", "w2: option 'host': there is no machine 'no..host'"]
    said = capsys.readouterr().err.splitlines()
    assert [line for line, word in zip(said, words, strict=True) if word not in line] == [], said


WRONG_RUNNERS = {
    "no options": ("options = { foo = 1 }", "ema: option 'foo' is unknown: there is none"),
    "python": ('type = "python"\noptions = { chas = 3 }', "ema: option 'chas' is unknown: did you mean 'cash'?"),
    "library": ('type = "backtesting"', "needs the package backtesting: pip install 'pynelive[backtesting]'"),
}


@pytest.mark.parametrize("name", WRONG_RUNNERS)
def test_a_runner_that_could_not_run_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options and what is not installed, and nothing else."""
    monkeypatch.setitem(sys.modules, "backtesting", None)  # type: ignore[arg-type]  # as if it were not installed
    text, words = WRONG_RUNNERS[name]
    assert app.main(["check", str(written(tmp_path, SOUND + text))]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert words in said


@pytest.mark.parametrize(
    ("kind", "source", "own"),
    [
        ("python", '"""@pyne\n"""\nfrom pynecore.lib import script\n', "pyne"),
        ("pyne", "from pynelive import Bar, Strategy\n", "python"),
        ("pyne", "from backtesting import Strategy\n", "backtesting"),
        ("pyne", "from pynelive import Bar\n", ""),
        ("python", "class (", ""),
    ],
)
def test_a_script_of_another_type_is_told_its_own(
    kind: str, source: str, own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` and `exec` know it by the source; what this leaves open is not judged."""
    options = "options = { risk = 1 }" if own else ""  # of the other type: no fault of their own
    path = written(tmp_path, SOUND + f'type = "{kind}"\n{options}')
    (tmp_path / "ema.py").write_text(source)
    assert app.main(["check", str(path)]) == (2 if own else 0)
    assert [line.partition("needs ")[2] for line in capsys.readouterr().err.splitlines()] == (
        [f'type = "{own}"'] if own else []
    )
    if own and kind == "pyne":
        assert app.main(["exec", str(tmp_path / "ema.py"), "demo:AAPL@1"]) == 1
        assert f'ema.py is a strategy {"in" if own == "python" else "of"}' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("length: int = 20", ["input 'lenth' is unknown: did you mean 'length'?"]),
        ("lenth: float", ["input 'lenth' must be float, not string"]),
        ("lenth: str = 'a'\n        size: float", ["input 'size' is missing"]),
        ("lenth: str", []),
        ("lenth: 'Any'", []),
    ],
)
def test_inputs_of_a_strategy_in_python_are_judged_by_its_source(
    config: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without running it; what is not plain there is judged when it starts."""
    path = written(tmp_path, SOUND + 'type = "python"\ninputs = { lenth = "x" }\n')
    source = f"from pynelive import Strategy\nclass A(Strategy):\n    class Config:\n        {config}\n"
    (tmp_path / "ema.py").write_text(source + "raise SystemExit('it is run')\n")
    assert app.main(["check", str(path)]) == (2 if words else 0)
    said = capsys.readouterr().err.splitlines()
    assert [line for line, word in zip(said, words, strict=True) if word not in line] == []


def test_a_secret_that_is_missing_is_one_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What takes its place until then is not blamed."""
    text = SOUND.replace('provider = "demo"', 'provider = "demo"\noptions.seed = { env = "NO_SUCH" }')
    assert app.main(["check", str(written(tmp_path, text))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_found_later_by_an_actor_is_found_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`up` and `apply` refuse what a plugin refuses; `check` looks into the files of a replay, too."""
    wrong = str(written(tmp_path, SOUND.replace('provider = "demo"', 'provider = "demo"\noptions.sped = 1')))
    for words in (["up", wrong], ["apply", wrong], ["run", "demo", wrong]):
        assert app.main(words) == 2
        assert "'sped' is unknown: did you mean 'speed'" in capsys.readouterr().err
    (tmp_path / "x.csv").write_text("time,open,high,low,close,volume\n1735000000,1,2,0.5,x,3\n")
    torn = '[[producer]]\nname = "r"\nprovider = "replay"\nstreams = ["X@1"]\noptions.files."X@1" = "x.csv"\n'
    assert app.main(["check", str(written(tmp_path, torn))]) == 2
    assert "[[producer]] r: " in (said := capsys.readouterr().err)
    assert "x.csv, line 2: close 'x' is no number" in said


def test_a_wrong_timeframe_hides_no_other_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stream of a producer is judged, whatever is wrong with the others."""
    pytest.importorskip("ccxt")
    streams = '["BINANCE:BTC/USDT@1m", "binance:ETH/USDT@1", "SOL/USDT@1", "BINANCE:BTC/USDT@7"]'
    wrong = f'[[producer]]\nname = "x"\nprovider = "ccxt"\nstreams = {streams}\noptions.market = "swop"\n'
    assert app.main(["check", str(written(tmp_path, wrong))]) == 2
    said = capsys.readouterr().err.splitlines()
    parts = ("'1m' is no timeframe", "capitals, BINANCE:ETH/USDT@1", "'SOL/USDT@1' names no exchange",
             "BINANCE has no timeframe 7", "option 'market'")  # fmt: skip
    assert [sum(part in line for line in said) for part in parts] == [1] * 5
    assert len(said) == 5


def test_two_recorders_do_not_share_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sinks on one folder, or two symbols with one file name, would overwrite each other."""
    second = '[[sink]]\nname = "again"\ntype = "ohlcv"\nstreams = ["demo:AAPL@1"]\n'
    assert app.main(["check", str(written(tmp_path, SOUND + second))]) == 2
    said = capsys.readouterr().err
    assert "recorder" in said
    assert "again" in said
    assert app.main(["check", str(written(tmp_path, SOUND.replace("AAPL@1", "BTC_USDT@1")))]) == 2
    assert "BTC_USDT@1" in capsys.readouterr().err


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["name", "provider", "streams", "type", "script", "stream", "options", "journal", "history"]
)
TABLES = st.sampled_from(["bus", "producer", "sink", "runner"]) | st.text()
GARBAGE = st.dictionaries(TABLES, st.lists(st.dictionaries(KEYS, VALUES), max_size=3) | VALUES)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary() | GARBAGE)
def test_garbage_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    """Whatever the file holds, reading it ends with a topology or with sentences, with no other error."""
    path = tmp_path_factory.mktemp("garbage") / "topology.toml"
    path.write_bytes(_bytes(content))
    with suppress(TopologyError):
        load(path)


def _bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    assert isinstance(content, dict)
    lines = (f"{json.dumps(key)} = {_toml(value)}\n" for key, value in content.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


def _toml(value: object) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(key)} = {_toml(item)}' for key, item in value.items())}}}"
        case float():
            return repr(value)
        case datetime():
            return value.isoformat()
    return json.dumps(value)


SHIPPED = Path(app.__file__).parent.parent


@pytest.mark.parametrize("name", ["topology.toml", "examples/real-bars.toml"])
def test_what_is_shipped_is_sound(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo and the example pass their own check."""
    if "real-bars" in name:
        pytest.importorskip("bokeh_sampledata")
    assert app.main(["check", str(SHIPPED / name)]) == 0, capsys.readouterr().err


def test_a_program_reads_the_faults_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --json` prints JSON whether the file is sound or not; the exit code tells which."""
    assert app.main(["check", "--json", str(written(tmp_path, "x = 1"))]) == 2
    assert "unknown table" in json.loads(capsys.readouterr().out)["problems"][0]


@pytest.mark.parametrize("kind", [BusSpec, JournalSpec, ProducerSpec, SinkSpec, RunnerSpec])
def test_every_key_is_documented(kind: type[Struct]) -> None:
    """docs/topology.md explains each key of each table."""
    text = (Path(__file__).parent.parent / "docs" / "topology.md").read_text(encoding="utf-8")
    assert [name for name in kind.__struct_fields__ if f"| `{name}` |" not in text] == []


def test_init_writes_a_sound_topology_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `init` writes passes `check`, and a second `init` leaves it alone."""
    assert app.main(["init", str(tmp_path / "new")]) == 0
    assert app.main(["check", str(tmp_path / "new" / "topology.toml")]) == 0
    assert app.main(["init", str(tmp_path / "new")]) == 1
    assert "left as it is" in capsys.readouterr().err


def test_reading_a_topology_loads_neither_zmq_nor_pynecore() -> None:
    """A command that only reads the file stays instant."""
    code = "import sys, pynelive.bus.topology; print({'zmq', 'pynecore', 'asyncio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
