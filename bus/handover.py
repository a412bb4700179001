"""The topology on its way from the supervisor to a child: one line of text that nobody has to trust.

A child runs what the supervisor runs, and the file may differ by now. Secrets stay secrets on the way.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from msgspec.msgpack import Decoder, Encoder, Ext
from msgspec.structs import replace

from .secrets import Secret
from .topology import Topology

_SECRET = 1


def topology_line(topology: Topology) -> bytes:
    """What :func:`topology_of` reads; ends with a newline and holds no other."""
    sealed = replace(
        topology,
        producers=tuple(replace(spec, options=_sealed(spec.options)) for spec in topology.producers),
        sinks=tuple(replace(spec, options=_sealed(spec.options)) for spec in topology.sinks),
        runners=tuple(replace(spec, options=_sealed(spec.options)) for spec in topology.runners),
    )
    return b64encode(_encoder.encode(sealed)) + b"\n"


def topology_of(line: bytes) -> Topology:
    """The topology that was handed over."""
    return _decoder.decode(b64decode(line))


def _sealed(value: Any) -> Any:
    """The value with every secret marked, which msgspec would write as any other string."""
    match value:
        case Secret():
            return Ext(_SECRET, value.encode())
        case dict():
            return {key: _sealed(item) for key, item in value.items()}
        case list():
            return [_sealed(item) for item in value]
    return value


_encoder = Encoder(enc_hook=str)  # of the path
_decoder = Decoder(
    Topology,
    dec_hook=lambda kind, value: kind(value),
    ext_hook=lambda _, value: Secret(value.tobytes().decode()),
)
