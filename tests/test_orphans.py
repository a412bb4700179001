"""What a child of the supervisor has started is buried with it, also when orphans were taken in just then."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest
from pynelive.bus.logs import LogFile
from pynelive.bus.process import Process
from pynelive.bus.warm import _taking_orphans_in
from support import wait_until

PARENT = "import subprocess, sys; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to whom they do not belong")
async def test_no_zombie_is_left(tmp_path: Path) -> None:
    """A runner with a process of its own is killed while another one is forked."""
    log = LogFile(tmp_path, "a")
    process = await Process.start(tmp_path, "a", (sys.executable, "-c", PARENT), str, log)
    await wait_until(lambda: log.last.isdecimal())
    orphan = psutil.Process(int(log.last))
    with _taking_orphans_in():
        process.kill()
        code = await asyncio.wait_for(process.exited(), 60)
    log.close()
    assert (code, orphan.is_running()) == (-9, False)
