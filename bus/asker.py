"""Asks one publisher, one question at a time, until it is answered: by callback, or awaited.

An answer that is late is never taken for another one: when the patience is over the DEALER is thrown away, and a new
one asks the same again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from .calls import (
    Ack,
    Acked,
    Bars,
    Fetch,
    History,
    Info,
    Names,
    Replay,
    Replayed,
    Reply,
    Request,
    Symbols,
    Welcome,
    decode_reply,
    encode_call,
)
from .errors import Hopeless
from .reports import Report
from .sockets import Curve, Reader, connect_dealer, send
from .versions import Refused, advice
from .wire import VERSION, Malformed

log = logging.getLogger("pynelive")
PATIENCE_S: Final = 1.0
_HISTORY_PATIENCE_S: Final = 120.0
"""A venue is asked, at its pace."""
_LOOK_S: Final = 0.2
_ANSWERS: Final[dict[type, type]] = {Info: Welcome, Replay: Replayed, History: Bars, Fetch: Bars, Symbols: Names}


class Asker:
    """The DEALER of a link.

    :param control: the publisher's ROUTER
    :param name: the publisher's; where another one listens by now nobody has answered
    :param answered: gets every reply that fits what was asked, every ``Acked``, and a ``Refused``
    :param curve: the keys, if the publisher is on another host
    :param bus: the bus that it must then be of; where one of another bus listens nobody has answered either
    """

    def __init__(
        self, control: str, name: str, answered: Callable[[Reply], None], curve: Curve | None = None, bus: str = ""
    ) -> None:
        self.malformed = 0
        self.timeouts = 0
        self.asked: Request | None = None
        """The question that is open, or was answered last."""
        self.foreign = ""
        """Who listens there instead, in a sentence."""
        self._name = name
        self._bus = bus
        self._answered = answered
        self._deadline = 0.0
        self._number = 0
        self._connect(control, curve)

    def _connect(self, control: str, curve: Curve | None) -> None:
        self._control, self._curve = control, curve
        self._socket = connect_dealer(control, curve)
        self._reader = Reader(self._socket, self._on_reply)

    @property
    def busy(self) -> bool:
        """Whether a question is open."""
        return bool(self._deadline)

    def number(self) -> int:
        """The number of the next question that needs one."""
        self._number += 1
        return self._number

    def ask(self, request: Request) -> None:
        """Ask; an open question is dropped for this one."""
        self.asked = request
        patience = _HISTORY_PATIENCE_S if isinstance(request, History | Fetch | Symbols) else PATIENCE_S
        self._deadline = time.monotonic() + patience
        self._send(request)

    def say(self, what: Ack | Report) -> None:
        """Say something that is not waited on."""
        self._send(what)

    def _send(self, request: Request) -> None:
        send(self._socket, encode_call(request))
        self._reader.poke()

    def tick(self) -> None:
        """Ask again if the answer is late."""
        if self._deadline and time.monotonic() > self._deadline:
            self.timeouts += 1
            self.reconnect(self._control, self._curve)
            self.ask(self.asked or Info())

    def reconnect(self, control: str, curve: Curve | None = None) -> None:
        """Throw the connection away, with the question that was open, and make another."""
        self._deadline = 0.0
        self._reader.close()
        self._connect(control, curve)

    def close(self) -> None:
        """Close the connection; what was said last is still sent."""
        self._reader.close()

    def _on_reply(self, data: bytes) -> None:
        try:
            reply = decode_reply(data)
        except Malformed:
            self.malformed += 1
            return
        if isinstance(reply, Refused):
            self._deadline = 0.0  # it would refuse again
        elif not isinstance(reply, Acked):
            if type(reply) is not _ANSWERS.get(type(self.asked)):
                return
            if isinstance(reply, Replayed | Bars | Names) and reply.request != self._number:
                return
            if isinstance(reply, Welcome) and not self._is_meant(reply):
                return
            self._deadline = 0.0
        self._answered(reply)

    def _is_meant(self, welcome: Welcome) -> bool:
        """Whether it is from whom was asked; one of another bus is said once, until the right one is there again."""
        foreign = ""
        if self._bus and welcome.bus and welcome.bus != self._bus:
            foreign = f"'{welcome.publisher}' on {self._control} is of the bus '{welcome.bus}' and not of " \
                      f"'{self._bus}': nothing of it is taken; give one of the two another port or address in [hosts]"
            if foreign != self.foreign:
                log.error("%s", foreign)
        self.foreign = foreign
        return welcome.publisher == self._name and not foreign


class Questions:
    """Questions to one publisher, awaited one after the other.

    :param alive: whether the publisher still lives; nobody waits for a dead one
    :param curve: the keys, if the publisher is on another host
    """

    def __init__(self, control: str, name: str, alive: Callable[[], bool], curve: Curve | None = None) -> None:
        self._name = name
        self._alive = alive
        self._answer: asyncio.Future[Reply] | None = None
        self._asker = Asker(control, name, self._on_answer, curve)

    async def ask(self, question: Callable[[int], Request]) -> Reply:
        """The answer to a question, which is made with its number.

        :raises Hopeless: the publisher has ended, or speaks another version
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._asker.ask(question(self._asker.number()))
        while not self._answer.done():
            await asyncio.wait([self._answer], timeout=_LOOK_S)
            if not (self._answer.done() or self._alive()):
                raise Hopeless(f"'{self._name}' has ended while it was asked: start again")
            self._asker.tick()
        reply = self._answer.result()
        if isinstance(reply, Refused):
            raise Hopeless(advice(self._name, reply.versions, VERSION))
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._asker.close()

    def _on_answer(self, reply: Reply) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(reply)
