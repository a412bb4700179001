"""Wrong bytes out of right ones, for `fuzz.py`: seeded, so that a failure can be had again."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from struct import calcsize

from pynelive.bus.wire import HEADER

FIELDS = list(pairwise(calcsize(HEADER.format[:end]) for end in range(1, len(HEADER.format) + 1)))
"""Where each field of a header begins and ends."""
NESTED = (b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01", b"\x92\xa4info")
NUMBERS = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
ODD = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc0", b"\xc1",
    b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6), b"\xd6\xff\xff\xff\xff\xff", b"\xa1\xff",
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7),
]  # fmt: skip


class Mutator:
    """Makes wrong bytes of right ones; the same seed, the same bytes.

    :param seeds: what else is right: parts of it are put into others
    """

    def __init__(self, seed: int, seeds: list[bytes]) -> None:
        self.dice = random.Random(seed)
        self.seeds = seeds
        self._ways: list[Callable[[bytes], bytes]] = [
            self.flip, self.flip, self.flip, self.cut, self.splice, self.number, self.insert, self.repeat, self.header,
            self.wrong_type, self.rubbish,
        ]  # fmt: skip

    def __call__(self, data: bytes) -> bytes:
        """One mutation, sometimes several, never none."""
        mutated = data
        while mutated == data:
            for _ in range(1 if self.dice.random() < 0.8 else self.dice.randint(2, 5)):
                mutated = self.dice.choice(self._ways)(mutated)
            if self.dice.random() < 0.0005:
                mutated = self.nest(mutated)
        return mutated

    def at(self, data: bytes) -> int:
        """Any place in it."""
        return self.dice.randrange(len(data) + 1)

    def flip(self, data: bytes) -> bytes:
        """One bit is another."""
        if not data:
            return b"\x01"
        at = self.dice.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 1 << self.dice.randrange(8),)) + data[at + 1 :]

    def cut(self, data: bytes) -> bytes:
        """The end, the beginning or the middle is missing."""
        one, other = sorted((self.at(data), self.at(data)))
        return self.dice.choice((data[:one], data[other:], data[:one] + data[other:]))

    def splice(self, data: bytes) -> bytes:
        """The beginning of one and the end of another."""
        other = self.dice.choice(self.seeds)
        return data[: self.at(data)] + other[self.at(other) :]

    def number(self, data: bytes) -> bytes:
        """A number of 1 to 8 bytes stands somewhere: lengths, counts, seqs."""
        size = self.dice.choice((1, 2, 4, 8))
        at = self.at(data)
        value = self.dice.choice(NUMBERS) % 256**size
        return data[:at] + value.to_bytes(size, self.dice.choice(("little", "big"))) + data[at + size :]

    def insert(self, data: bytes) -> bytes:
        """Something more in it."""
        at = self.at(data)
        return data[:at] + self.dice.randbytes(self.dice.randint(1, 8)) + data[at:]

    def repeat(self, data: bytes) -> bytes:
        """A part of it twice."""
        one, other = sorted((self.at(data), self.at(data)))
        return data[:other] + data[one:]

    def header(self, data: bytes) -> bytes:
        """Another value in one of the fields behind the topic."""
        at = data.find(b"\0") + 1
        if len(data) < at + HEADER.size:
            return self.flip(data)
        begin, end = self.dice.choice(FIELDS)
        field = data[at + begin : at + end]
        near = int.from_bytes(field, "little") + self.dice.choice((-2, -1, 1, 2))
        value = self.dice.choice((near, self.dice.choice(NUMBERS))) % 256 ** len(field)
        return data[: at + begin] + value.to_bytes(len(field), "little") + data[at + end :]

    def wrong_type(self, data: bytes) -> bytes:
        """Another thing of msgpack, or the claim of a huge one, where a value stands."""
        at = self.at(data)
        return data[:at] + self.dice.choice(ODD) + data[at + self.dice.choice((0, 1, 9)) :]

    def rubbish(self, data: bytes) -> bytes:
        """Nothing of it is left, or only its beginning."""
        return data[: self.dice.choice((0, 1, data.find(b"\0") + 1))] + self.dice.randbytes(self.dice.randint(0, 200))

    def nest(self, data: bytes) -> bytes:
        """Arrays in arrays in arrays."""
        at = self.at(data)
        return data[:at] + self.dice.choice(NESTED) * self.dice.choice((100, 2_000, 50_000)) + data[at:]
