"""Subscribing many candles at once, so that one that is refused does not take the others with it.

ccxt neither waits for the venue's answer nor asks again after a refusal; so it only writes the frames here, and what
the venue says to them is heard beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import ccxt

from ...bus.names import Key
from ..contract import Disconnected, Refused
from .errors import meaning
from .venues import Answer, Venue

Market = dict[str, Any]


class Subscriber:
    """The subscriptions of one connection; :meth:`run` once."""

    def __init__(
        self, ex: Any, venue: Venue, wanted: dict[Key, tuple[Market, str]], refuse: Callable[[Key, str], None],
        answer_s: float,
    ) -> None:  # fmt: skip
        """
        :param wanted: the market and ccxt's timeframe of each stream
        :param refuse: called with each stream that the venue does not give, and why
        :param answer_s: how long the venue may take to answer
        """
        self._ex, self._venue, self._wanted, self._refuse, self._answer_s = ex, venue, wanted, refuse, answer_s
        self._pending: set[Key] = set()
        self._verdict: asyncio.Future[Answer] | None = None
        self._owed = 0  # answers that are still to come: a late one must not count for the next question
        self._asked: list[asyncio.Future[Any]] = []

    async def run(self) -> None:
        """Subscribe everything, and return when the venue has answered to all of it.

        :raises Disconnected: no connection, or no answer
        """
        for chunk in self._chunks():
            await self._ask(chunk)

    def hear(self, frame: Any) -> None:
        """Take a frame: it may be an answer."""
        if self._venue.says is None or not isinstance(frame, dict):
            return
        answer = self._venue.says(frame)
        if answer is None:
            return
        if answer.symbols:
            named = [key for key in self._pending if self._is_named(key, answer)]
            for key in () if answer.ok else named:
                self._refuse(key, answer.text)
            self._settle(named)
        else:
            self._owed -= 1
            if self._owed <= 0 or not answer.ok:
                self._decide(answer)

    def fed(self, key: Key) -> None:
        """A candle of this stream has come: that is an answer too."""
        if key in self._pending:
            self._settle([key])

    async def close(self) -> None:
        """Give up what still waits."""
        for asked in self._asked:
            asked.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    def _settle(self, keys: Iterable[Key]) -> None:
        self._pending.difference_update(list(keys))
        if not self._pending:
            self._decide(Answer(True))

    def _decide(self, answer: Answer) -> None:
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(answer)

    def _chunks(self) -> list[list[Key]]:
        """As many as fit into a frame, of one kind of market and one timeframe."""
        def kind(key: Key) -> tuple[str, str, str]:
            market, timeframe = self._wanted[key]
            return str(market.get("type")), str(market.get("settle")), timeframe

        chunks = []
        for (market_type, *_), found in groupby(sorted(self._wanted, key=kind), kind):
            keys = list(found)
            size = self._venue.spot_batch if market_type == "spot" and self._venue.spot_batch else self._venue.batch
            chunks += [keys[i : i + size] for i in range(0, len(keys), size)]
        return chunks

    async def _ask(self, chunk: Sequence[Key]) -> None:
        """Subscribe these; if the venue refuses them as a whole, each half of them, and so on."""
        answer = await self._put(chunk)
        if answer.ok:
            return
        if len(chunk) == 1:
            self._refuse(chunk[0], answer.text)
            return
        rest = [key for key in chunk if key in self._pending]
        half = (len(rest) + 1) // 2
        for part in filter(None, (rest[:half], rest[half:])):
            await self._ask(part)

    async def _put(self, chunk: Sequence[Key]) -> Answer:
        """Send one subscription and wait for what the venue says to it."""
        assert self._venue.asks is not None
        self._forget()
        self._pending = set(chunk)
        self._owed += 1
        self._verdict = asyncio.get_running_loop().create_future()
        pairs = [(self._wanted[key][0]["symbol"], self._wanted[key][1]) for key in chunk]
        asked = asyncio.ensure_future(self._venue.asks(self._ex, pairs))
        self._asked.append(asked)
        await asyncio.wait({asked, self._verdict}, timeout=self._answer_s, return_when=asyncio.FIRST_COMPLETED)
        if self._verdict.done():
            return self._verdict.result()
        if not asked.done():
            raise Disconnected(
                f"{self._ex.id.upper()} has not answered to the subscription of {_some(chunk)} "
                f"within {self._answer_s:g} s", kind="protocol",
            )  # fmt: skip
        return self._failed(asked)

    def _failed(self, asked: asyncio.Future[Any]) -> Answer:
        """What ccxt says has gone wrong with a subscription."""
        with contextlib.suppress(asyncio.CancelledError):
            error = asked.exception()
            if isinstance(error, ccxt.BaseError):
                meant = meaning(error, self._ex.id)
                if isinstance(meant, Refused) or type(error) is ccxt.ExchangeError:
                    return Answer(False, (), str(meant))
                raise meant from error
            if error is not None:
                raise error
            return Answer(True)
        raise Disconnected(f"{self._ex.id.upper()} has gone while it was asked for {_some([*self._pending])}")

    def _forget(self) -> None:
        """Let ccxt send a frame again: it remembers what it has sent, refused or not."""
        for client in self._ex.clients.values():
            client.subscriptions.clear()

    def _is_named(self, key: Key, answer: Answer) -> bool:
        market, _ = self._wanted[key]
        return market["id"] in answer.symbols or market["symbol"] in answer.symbols


def _some(keys: Sequence[Key]) -> str:
    return f"{keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
