"""What ccxt's exceptions mean for a stream: our own table, for ccxt's class tree mixes what passes and what does not.

A venue's own code goes first, then the HTTP status, then ccxt's class.
"""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import ccxt
from multidict import CIMultiDict

from .. import clock
from ..contract import ConfigError, Disconnected, Kind, Refused
from ..http import bounded, retry_after, said

_CODE = re.compile(r'"(?:code|retCode|ret_code|err-code|sCode)"\s*:\s*"?(-?\d+)')
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_TIME_MS = re.compile(r"\d{10,20}", re.ASCII)
_QUERY = re.compile(r"\?[\w.%+-]+=\S*")
_ABROAD = re.compile(r"restricted location|your country|block access from", re.IGNORECASE)

_CODES: dict[str, dict[str, Kind]] = {
    "binance": {
        "-1000": "network", "-1001": "network", "-1003": "rate", "-1008": "maintenance", "-1021": "clock",
    },
    "bybit": {
        "10000": "maintenance", "10002": "clock", "10006": "rate", "10016": "maintenance", "10018": "rate",
        "10019": "maintenance", "170007": "network",
    },
    "okx": {"50001": "maintenance", "50004": "network", "50011": "rate", "50013": "maintenance", "50061": "rate"},
}  # fmt: skip
_STATUSES: dict[int, Kind] = {
    403: "banned", 408: "network", 418: "banned", 425: "network", 429: "rate", 503: "maintenance",
}  # fmt: skip
_BANS = (403, 418)
_CLASSES: tuple[tuple[type[Exception], Kind], ...] = (
    (ccxt.OnMaintenance, "maintenance"),
    (ccxt.InvalidNonce, "clock"),
    (ccxt.DDoSProtection, "rate"),
    (ccxt.RateLimitExceeded, "rate"),
    (ccxt.BadResponse, "protocol"),
    (ccxt.OperationFailed, "network"),
)
_LONGEST_BAN_S = 3 * 86_400.0
"""Binance's own limit."""
_PAUSES_S: dict[Kind, float] = {"rate": 5.0, "banned": 60.0}


class Garbled(ccxt.BadResponse):  # type: ignore[misc, unused-ignore]
    """An answer that is no JSON, though the venue says that all is well."""


def meaning(error: Exception, venue: str) -> Disconnected | Refused | ConfigError:
    """The contract's exception for one of ccxt's.

    :param venue: ccxt's id of the exchange
    """
    text, status = _short(error), _status(error)
    if status == 451 or _ABROAD.search(str(error)):
        return ConfigError([f"{venue.upper()} does not serve this country ({text}): run the producer elsewhere"])
    kind = _kind_of_status(status) if status in _BANS else _CODES.get(_family(venue), {}).get(_code(error))
    kind = kind or _kind_of_status(status)
    if kind is None:
        if refusal := _refusal(error, venue, text):
            return refusal
        kind = _kind_of_class(error)
    return Disconnected(f"{venue.upper()}: {text}", _wait_s(error, kind), kind)


def _refusal(error: Exception, venue: str, text: str) -> Refused | ConfigError | None:
    """Whether asking again cannot help: for the key as a whole, or for this one stream."""
    if isinstance(error, ccxt.AuthenticationError):
        return ConfigError([f"{venue.upper()} refuses the key ({text}): mend api_key, secret and password"])
    if isinstance(error, ccxt.RestrictedLocation):
        return ConfigError([f"{venue.upper()} does not serve this country ({text}): run the producer elsewhere"])
    final = (ccxt.BadRequest, ccxt.ArgumentsRequired, ccxt.NotSupported, ccxt.OperationRejected)
    return Refused(f"{venue.upper()}: {text}") if isinstance(error, final) else None


def _kind_of_status(status: int) -> Kind | None:
    return _STATUSES.get(status) or ("network" if status >= 500 else None)


def _kind_of_class(error: Exception) -> Kind:
    # a bare ExchangeError is what ccxt makes of everything that it does not know: it may well pass
    return next((kind for kind_of, kind in _CLASSES if isinstance(error, kind_of)), "network")


def _wait_s(error: Exception, kind: Kind) -> float | None:
    if banned := _BANNED_UNTIL.search(str(error)):
        return min(max((int(banned[1]) - clock.now_ms()) / 1000, 0.0), _LONGEST_BAN_S)
    headers = CIMultiDict(getattr(error, "headers", None) or getattr(_dial(error), "headers", None) or {})
    reset_ms = headers.get("X-Bapi-Limit-Reset-Timestamp", "") if kind == "rate" else ""  # Bybit's
    if _TIME_MS.fullmatch(reset_ms):
        return bounded((int(reset_ms) - clock.now_ms()) / 1000)
    return retry_after(headers) or _PAUSES_S.get(kind)


def _status(error: Exception) -> int:
    """The HTTP status, of a request (the client notes it) or of a WebSocket's handshake; 0 if there was none."""
    return int(getattr(error, "status", 0) or getattr(_dial(error), "status", 0) or 0)


def _dial(error: Exception) -> Any:
    """What ccxt wraps into its ``NetworkError`` when a handshake fails."""
    return next((item for item in error.args if isinstance(item, aiohttp.ClientError)), None)


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _family(venue: str) -> str:
    return next((name for name in _CODES if venue.startswith(name)), venue)


def _short(error: Exception) -> str:
    """One line of what was said, without the query of an address (it may be signed); pages of HTML say no more."""
    why = f": {said(error.__cause__)}" if error.__cause__ else ""  # ccxt itself names the address alone
    line = " ".join(_QUERY.sub("", said(error) + why).split())
    return line if len(line) <= 200 else f"{line[:200]}…"
