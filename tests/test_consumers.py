"""Whom a publisher waits for: what is declared, as far as it is on disk, and nobody else."""

import asyncio

from pynelive.bus.consumers import Consumers


async def test_who_is_declared_later_is_waited_for_and_who_is_forgotten_is_not() -> None:
    """A consumer that starts again keeps what it has; a new stream of it starts at nothing."""
    consumers, heads = Consumers({"a": ["x"]}), {"x": 10, "y": 5}
    consumers.said(heads)
    consumers.acknowledge("a", {"x": 10})
    consumers.acknowledge("stranger", {"x": 1})
    assert consumers.outstanding == 0
    consumers.expect("a", ["x", "y"])
    consumers.expect("b", ["x"])
    assert consumers.lags() == {"a": 5, "b": 10}
    assert consumers.durable() == {"x": 0, "y": 0}
    consumers.forget("b")
    consumers.acknowledge("a", {"y": 5})
    await asyncio.wait_for(consumers.moved(), 60)
    assert consumers.outstanding == 0
