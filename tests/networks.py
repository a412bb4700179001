"""Machines of their own on this one: network namespaces on a switch, whose cables can be cut, or lose and delay.

Needs root and the command ``ip`` (iproute2). Everything is in namespaces, so nothing of it is left on this machine.

    with Network("a", "b") as net:
        subprocess.Popen(net.command("a", ["pynelive", "up", …]))
        net.cut("a")
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from types import TracebackType

TUN = "/dev/net/tun"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST_PACKET = 65_536


def missing(lossy: bool = False) -> str:
    """Why there can be no network here; empty if there can.

    :param lossy: it is to lose or delay packets
    """
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "network namespaces need the command ip (iproute2)"
    if lossy and not os.path.exists(TUN):
        return f"a cable that loses packets needs {TUN}"
    probe = f"pl{os.getpid()}probe"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """Some machines, each with one address.

    :param loss: of all packets, the part that gets lost
    :param delay_ms: how long a packet travels
    :param seed: of the losses
    """

    def __init__(self, *names: str, loss: float = 0.0, delay_ms: float = 0.0, seed: int = 1) -> None:
        self._names = names
        self._id = f"pl{os.getpid()}"
        self._cables = _Cables(loss, delay_ms, seed) if loss or delay_ms else None

    @property
    def lost(self) -> int:
        """Packets that did not arrive so far, where cables are lossy."""
        return self._cables.lost if self._cables else 0

    def weather(self, loss: float, delay_ms: float) -> None:
        """From now on the cables, which must be lossy ones, lose that part of all packets, and are that late."""
        assert self._cables
        self._cables.loss, self._cables.delay_s = loss, delay_ms / 1000

    def __enter__(self) -> Network:
        try:
            self._create()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    def address(self, name: str) -> str:
        """Where the others reach the machine."""
        return f"10.77.0.{self._names.index(name) + 1}"

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        """The command, to be run on the machine."""
        return ["ip", "netns", "exec", self._space(name), *argv]

    def cut(self, name: str) -> None:
        """Pull the machine's cable: nobody is told, packets just do not arrive."""
        self._plug(name, "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        self._plug(name, "up")

    def destroy(self) -> None:
        """Remove everything; processes that still run on a machine keep its namespace until they end."""
        if self._cables:
            self._cables.close()
        for name in ("", *self._names):
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)

    def _space(self, name: str) -> str:
        """The namespace of a machine, or of the switch."""
        return f"{self._id}-{name}"

    def _create(self) -> None:
        switch = self._space("")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self._names):
            space, port = self._space(name), f"port{number}"
            _ip("netns", "add", space)
            if self._cables:
                self._cables.plug(f"{self._id}t{number}", space, self.address(name))
            else:
                _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "net", "netns", space)
                _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "net")
            _ip("-n", space, "link", "set", "net", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        if self._cables:
            self._cables.start()

    def _plug(self, name: str, state: str) -> None:
        if self._cables:
            self._cables.pull(self.address(name), state == "down")
        else:
            _ip("-n", self._space(""), "link", "set", f"port{self._names.index(name)}", state)


class _Cables:
    """Carries packets between TUN devices in a thread, each late, some not at all."""

    def __init__(self, loss: float, delay_ms: float, seed: int) -> None:
        self.loss, self.delay_s = loss, delay_ms / 1000
        self.lost = 0
        self._random = random.Random(seed)
        self._devices: dict[bytes, int] = {}
        self._pulled: set[int] = set()
        self._stop_in, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="cables", daemon=True)

    def plug(self, device: str, space: str, address: str) -> None:
        """Give the machine a device; it stays ours through the descriptor wherever it is moved to."""
        descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
        self._devices[_packed(address)] = descriptor
        _ip("link", "set", device, "netns", space)
        _ip("-n", space, "link", "set", device, "name", "net")

    def pull(self, address: str, out: bool) -> None:
        """Pull the machine's cable, or put it back."""
        (self._pulled.add if out else self._pulled.discard)(self._devices[_packed(address)])

    def start(self) -> None:
        """Carry from now on."""
        self._thread.start()

    def close(self) -> None:
        """Carry no more, and remove the devices."""
        os.close(self._stop)
        if self._thread.is_alive():
            self._thread.join()
        for descriptor in (*self._devices.values(), self._stop_in):
            os.close(descriptor)

    def _carry(self) -> None:
        travelling: list[tuple[float, int, int, bytes]] = []
        sent, devices = 0, list(self._devices.values())
        while True:
            wait_s = max(travelling[0][0] - time.monotonic(), 0) if travelling else None
            ready, _, _ = select.select([*devices, self._stop_in], [], [], wait_s)
            if self._stop_in in ready:
                return
            for device in ready:
                packet = self._taken(device)
                target = self._devices.get(packet[16:20])
                if target is None:
                    continue
                if self._pulled & {device, target} or self._random.random() < self.loss:
                    self.lost += 1
                    continue
                sent += 1
                heapq.heappush(travelling, (time.monotonic() + self.delay_s, sent, target, packet))
            while travelling and travelling[0][0] <= time.monotonic():
                self._give(*heapq.heappop(travelling)[2:])

    def _taken(self, device: int) -> bytes:
        try:
            return os.read(device, _LARGEST_PACKET)
        except OSError:
            return b""  # the machine is being removed

    def _give(self, device: int, packet: bytes) -> None:
        try:
            os.write(device, packet)
        except OSError:
            pass  # likewise


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))
