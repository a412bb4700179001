"""What is said on the bus: one frozen struct a kind.

Every struct is a msgpack array on the wire whose first element is its tag, so that any language with msgpack
reads it. Fields are only ever appended, with a default. Times are Unix milliseconds UTC unless the name says
otherwise; prices are floats, as in PyneCore.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field, structs

Origin = Literal["venue", "backfill", "aggregated", "sampled", "demo", "replay", "fallback", "derived"]
"""Where a bar comes from; it decides what may be done with the bar (docs/concepts.md)."""

StreamState = Literal["live", "stale", "down", "healing", "closed"]
"""``closed`` is the market; ``stale`` and ``down`` are outages, not quiet markets."""


class Bar(Struct, frozen=True, array_like=True, tag="bar", gc=False):
    """One bar, forming (``closed`` false, latest-wins) or closed (must-deliver).

    ``time_ms`` is when the bar opens. ``update`` counts the updates inside the bar, ``revision`` how often
    the closed bar was corrected: the same time with another revision is never a second bar.
    """

    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool = True
    update: int = 0
    revision: int = 0
    origin: Origin = "venue"
    received_ns: int = 0
    extra: dict[str, float | str] | None = None


class State(Struct, frozen=True, array_like=True, tag="state"):
    """The stream's condition from ``since_ms`` on, and why."""

    state: StreamState
    since_ms: int
    reason: str = ""


class End(Struct, frozen=True, array_like=True, tag="end"):
    """The stream is over: nothing follows."""

    reason: str = ""


class Span(Struct, frozen=True, array_like=True):
    """An interval of trading on one weekday (0 is Monday), as seconds after the exchange's midnight."""

    day: int
    start_s: int
    end_s: int


class Instrument(Struct, frozen=True, array_like=True, tag="instrument"):
    """What is traded: PyneCore's SymInfo, the first message of every bar stream.

    ``pricescale`` and ``minmove`` are the tick grid (``mintick = minmove / pricescale``). ``opening_hours``
    are in ``timezone``; ``session_starts``/``session_ends`` use ``start_s`` only. ``kind`` is SymInfo's
    ``type``. ``source`` identifies what made the stream (the demo's seed, a replayed file), so that other
    content under the same name is noticed.
    """

    ticker: str
    timeframe: str
    prefix: str = ""
    description: str = ""
    kind: str = "crypto"
    currency: str = "USD"
    basecurrency: str | None = None
    mintick: float = 0.01
    pricescale: int = 100
    minmove: int = 1
    pointvalue: float = 1.0
    mincontract: float = 1e-5
    timezone: str = "UTC"
    volumetype: str = "base"
    opening_hours: tuple[Span, ...] = ()
    session_starts: tuple[Span, ...] = ()
    session_ends: tuple[Span, ...] = ()
    source: str = ""


class Run(Struct, frozen=True, array_like=True, tag="run"):
    """The first message of a script's stream: what runs, on what, and the shape of its plots.

    ``first_ms`` is the pinned first bar of the run, ``warmup`` the number of bars before it went live; ``instrument``
    is what its bars are of, ``contexts`` are the other streams that it asks for, and what those are of. ``bars`` is
    how many closed bars were executed before what follows: more than 0 where somebody comes late. ``overlay`` is
    whether its plots belong on the price's pane, not in one of their own.
    """

    script: str
    stream: str
    fingerprint: str
    title: str = ""
    kind: Literal["indicator", "strategy"] = "indicator"
    inputs: dict[str, Any] = field(default_factory=dict)
    first_ms: int = 0
    warmup: int = 0
    instrument: Instrument | None = None
    contexts: dict[str, Instrument] = field(default_factory=dict)
    bars: int = 0
    overlay: bool = False


class Executed(Struct, frozen=True, array_like=True, tag="executed"):
    """An update that a script has executed; its source goes on at ``next_seq`` of ``epoch``.

    A closed bar's record holds this message first and then all that the script said on it. ``told`` is what the
    script was told of the bar before it: a source that is a script itself has said that on it.
    """

    bar: Bar
    epoch: int
    next_seq: int
    history: bool = False
    told: tuple[Said, ...] = ()


class Told(Struct, frozen=True, array_like=True, tag="told"):
    """What a script was told besides its bars, in the order of execution: the state of its stream, or what another
    stream says; that goes on at ``next_seq`` of ``epoch``. What the script said to that follows.
    """

    stream: str
    message: Bar | State | Said
    epoch: int
    next_seq: int


class Seal(Struct, frozen=True, array_like=True, tag="seal"):
    """The fingerprint of all that a run has said up to here: SHA-256 over its messages, each as a record of its
    own, one after the other, without ``Run``, ``Executed``, ``Told``, ``State``, ``End`` and other seals.
    """

    time_ms: int
    messages: int
    fingerprint: str


class Meta(Struct, frozen=True, array_like=True, tag="meta"):
    """How plots are to be drawn: PyneCore's own descriptions (``id``, ``kind``, colours, styles, pane).

    Those that are new or have changed since the last one; an ``id`` that was described before is replaced.
    ``kind`` is ``plot``, ``shape``, ``char``, ``arrow``, ``candle``, ``bar``, ``bgcolor``, ``barcolor``,
    ``hline`` or ``fill``.
    """

    time_ms: int
    plots: tuple[dict[str, Any], ...]


class Plot(Struct, frozen=True, array_like=True, tag="plot"):
    """The values of a script's plots at one bar, by title; ``None`` is Pine's na.

    ``styles`` holds what is dynamic (colours as ``#RRGGBBAA``), by the plot's id; what is missing is as it was.
    A forming bar (``closed`` false, latest-wins) holds in ``drawings`` also how what is drawn on it differs from
    the last closed bar.
    """

    time_ms: int
    values: dict[str, float | str | bool | None]
    closed: bool = True
    styles: dict[str, Any] = field(default_factory=dict)
    drawings: tuple[Drawing, ...] = ()


class Drawing(Struct, frozen=True, array_like=True, tag="drawing"):
    """A line, label, box, table, polyline or fill was made, changed or taken away, as PyneCore describes it.

    ``fields`` are all of its fields at ``create`` and those that have changed at ``update``.
    """

    time_ms: int
    op: Literal["create", "update", "delete"]
    kind: str
    id: int
    fields: dict[str, Any] = field(default_factory=dict)


class Alert(Struct, frozen=True, array_like=True, tag="alert"):
    """``alert()`` was called, the condition of an ``alertcondition()`` held, or an order was filled."""

    time_ms: int
    message: str
    freq: str = ""
    title: str = ""


class Order(Struct, frozen=True, array_like=True):
    """What a strategy wants done, or takes back (``cancel``); ``replace`` changes an order that waits.

    ``size`` counts what ``size_of`` says: units, or a share (0 to 1) of what is ``available`` when it is filled.
    ``closes`` is the entry that this order exits (``*`` is all of them); without it the order may open.
    Prices are those of a limit, a stop, a trailing stop (``trail_offset`` behind the best price since
    ``trail_price``) and of the exits that come with an entry (``stop_loss``, ``take_profit``). A ``bracket`` is an
    exit by whichever of its limit, stop and trailing stop comes first; while its entry is not filled, ``profit``,
    ``loss`` and ``trail_points`` say how far from the entry's price they will be.
    """

    id: str
    op: Literal["place", "replace", "cancel"]
    side: Literal["buy", "sell"]
    size: float
    size_of: Literal["units", "available"] = "units"
    kind: Literal["market", "limit", "stop", "stop-limit", "trailing", "bracket"] = "market"
    limit: float | None = None
    stop: float | None = None
    trail_price: float | None = None
    trail_offset: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    closes: str = ""
    oca: str = ""
    comment: str = ""
    profit: float | None = None
    loss: float | None = None
    trail_points: float | None = None


class Signal(Struct, frozen=True, array_like=True, tag="signal"):
    """What a strategy holds and wants after a confirmed bar; one a bar, ``hold`` included.

    ``action`` is what it wants: to open (``buy``, ``sell``), only to close, or nothing new. ``orders`` are what
    it has placed, changed or cancelled on this bar. ``position`` is what it holds, ``target`` what it will hold
    when its market orders are filled (None: not known before), ``price`` the bar's close. ``confidence`` (0 to 1)
    is the strategy's own word, or None. ``phase`` is ``history`` while a run catches up with what is past.
    """

    time_ms: int
    action: Literal["buy", "sell", "close", "hold"]
    position: float
    equity: float
    reason: str = ""
    price: float | None = None
    target: float | None = None
    orders: tuple[Order, ...] = ()
    confidence: float | None = None
    phase: Literal["history", "live"] = "live"


class Fill(Struct, frozen=True, array_like=True, tag="fill"):
    """A closed trade of a strategy, as PyneCore books it. ``size`` is signed: negative is short."""

    time_ms: int
    entry_id: str
    exit_id: str
    size: float
    entry_ms: int
    entry_price: float
    exit_ms: int
    exit_price: float
    profit: float
    entry_comment: str = ""
    exit_comment: str = ""
    commission: float = 0.0
    max_runup: float = 0.0
    max_drawdown: float = 0.0


class Holding(Struct, frozen=True, array_like=True):
    """An open trade. ``size`` is signed: negative is short."""

    entry_id: str
    size: float
    entry_ms: int
    entry_price: float
    profit: float = 0.0
    comment: str = ""


class Account(Struct, frozen=True, array_like=True, tag="account"):
    """A strategy's book after a confirmed bar, in the account's currency; said when it differs from the last one.

    ``statistics`` are those of TradingView's Strategy Tester, by PyneCore's names; said when a trade was closed.
    What is missing in them is as it was.
    ``orders`` are all that stand, whenever they were placed.
    """

    time_ms: int
    position: float
    average_price: float | None
    equity: float
    open_profit: float
    net_profit: float
    open_trades: tuple[Holding, ...] = ()
    statistics: dict[str, float | str | None] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()


class Log(Struct, frozen=True, array_like=True, tag="log"):
    """``log.info``, ``log.warning`` or ``log.error`` of a script."""

    time_ms: int
    level: str
    text: str


Said = Meta | Plot | Drawing | Alert | Signal | Fill | Account | Log
"""What a script says."""

Message = Bar | State | End | Instrument | Run | Executed | Told | Seal | Said
"""Everything that a stream can carry."""


def is_forming(message: Message) -> bool:
    """Whether it is latest-wins: what a forming bar, or what a script says of one, looks like for now."""
    return isinstance(message, Bar | Plot) and not message.closed


def as_object(stream: str, message: Message) -> dict[str, Any]:
    """A message as JSON shows it: its stream, its kind, and its fields by name."""
    return {"stream": stream, "kind": type(message).__struct_config__.tag, "message": fields_of(message)}


def fields_of(value: Any) -> Any:
    """A message, or what stands in one, as plain dicts and lists: its fields by name."""
    if isinstance(value, Struct):
        return {name: fields_of(item) for name, item in structs.asdict(value).items()}
    if isinstance(value, tuple):
        return [fields_of(item) for item in value]
    return value
