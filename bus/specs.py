"""The tables of topology.toml: what can be said of a bus and of each actor, and what holds if nothing is said."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]
_Names = Annotated[tuple[str, ...], Meta(min_length=1)]


class BusSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``[bus]``: the name of the bus and where it keeps its journals, discovery and logs."""

    name: str = "default"
    run_dir: str = ""
    transport: Literal["auto", "ipc", "tcp"] = "auto"


class JournalSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``journal = {…}`` of a publisher: how much is kept. The size wins; age waits for the declared consumers."""

    max_mb: _Positive = 256
    max_hours: Annotated[float, Meta(ge=0)] = 0
    sync_ms: _Count = 100


class QualitySpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``quality = {…}`` of a producer: how its bars are judged and confirmed (docs/quality.md)."""

    bounds: Literal["reject", "widen"] = "reject"
    snap: Annotated[float, Meta(ge=0, lt=0.5)] = 0.02
    outlier: Annotated[float, Meta(ge=0)] = 0
    volume_outlier: Annotated[float, Meta(ge=0)] = 0
    grace_s: _Positive = 3
    hold_s: _Positive = 120
    recheck_s: tuple[_Positive, ...] | None = None


class ProducerSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[producer]]``: one provider and its streams."""

    name: str
    provider: str
    streams: _Names
    options: dict[str, Any] = field(default_factory=dict)
    journal: JournalSpec = JournalSpec()
    quality: QualitySpec = QualitySpec()
    fallback: dict[str, tuple[str, ...]] = field(default_factory=dict)
    derive: dict[str, tuple[str, ...]] = field(default_factory=dict)
    host: str = ""


class SinkSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[sink]]``: keeps or shows the streams that match."""

    name: str
    type: str
    streams: _Names
    options: dict[str, Any] = field(default_factory=dict)
    host: str = ""


class InstanceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``NAME = {…}`` in ``[runner.instances]``: the runner's script on a stream, with inputs of its own."""

    stream: str
    inputs: dict[str, Any] = field(default_factory=dict)


class LimitsSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``limits = {…}`` of a runner: what its script may take (``bus/limits.py``)."""

    memory_mb: Annotated[float, Meta(ge=128)] = 2048
    cpu_s: _Positive = 60
    files: Annotated[int, Meta(ge=64)] = 1024
    processes: _Count = 0


class RunnerSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[runner]]``: a script on a stream, as ``run:<name>``; or on several, as ``run:<name>/<instance>``."""

    name: str
    script: str
    stream: str = ""
    instances: dict[str, InstanceSpec] = field(default_factory=dict)
    type: str = "pyne"
    history: _Count = 500
    inputs: dict[str, Any] = field(default_factory=dict)
    trade_history: bool = False
    updates: Literal["auto", "all", "closed"] = "auto"
    start: Literal["earliest", "head"] = "earliest"
    output: str = "output"
    fallback: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    journal: JournalSpec = JournalSpec(max_mb=1024)
    data: tuple[str, ...] = ()
    on_outage: Literal["ignore", "hold", "exits-only", "stop"] = "ignore"
    remember: bool = True
    watch: bool = False
    limits: LimitsSpec = LimitsSpec()
    host: str = ""


ActorSpec = ProducerSpec | SinkSpec | RunnerSpec
Role = Literal["producer", "sink", "runner"]
ROLE_OF: dict[type[Struct], Role] = {ProducerSpec: "producer", SinkSpec: "sink", RunnerSpec: "runner"}


def seats_of(spec: RunnerSpec) -> tuple[RunnerSpec, ...]:
    """The runner taken apart: each of its scripts on one stream, by the name under which it is published."""
    return tuple(
        replace(spec, name=f"{spec.name}/{name}", stream=each.stream, inputs=spec.inputs | each.inputs, instances={})
        for name, each in spec.instances.items()
    ) or (spec,)



def patterns(spec: ActorSpec) -> tuple[str, ...]:
    """What the actor reads, as the file says it."""
    if isinstance(spec, RunnerSpec):
        own = (seat.stream for seat in seats_of(spec) if seat.stream)
        return tuple(dict.fromkeys((*own, *spec.data)))
    return spec.streams if isinstance(spec, SinkSpec) else ()



def place(spec: ActorSpec) -> str:
    """Where a fault of the actor is: its table and its name."""
    return f"[[{ROLE_OF[type(spec)]}]] {spec.name}"
