"""Every test has its own run-time folder for sockets and its own cache, and the helpers beside it."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq  # noqa: F401 - behind PyneCore nobody could import it
from hypothesis import settings
from pynelive.bus import sockets

sys.path.insert(0, str(Path(__file__).parent))
from browser import chromium, up, visit  # noqa: F401 - fixtures
from jobs import Run, runs_in

# What a shell runs in the background is deaf to Ctrl-C, and so would be all that is started here and interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("any machine", deadline=None)  # how long an example takes says more about the neighbours
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _own_runtime_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
    monkeypatch.setenv("PYNELIVE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("PYNELIVE_BUS", raising=False)


@pytest.fixture(autouse=True)
def _no_socket_is_left() -> Iterator[None]:
    """What a test that fails leaves open would fail another one, in which it is collected."""
    yield
    for socket in [*sockets.context()._sockets]:
        socket.close(linger=0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs jobs of scripts in processes of their own."""
    return runs_in(tmp_path)
