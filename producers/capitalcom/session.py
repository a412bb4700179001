"""One login at Capital.com: its tokens, their renewal, and what the venue's errors mean.

The password goes over the wire encrypted with the venue's RSA key. The two tokens stand in the headers of the login's
answer; any later answer may carry new ones. A session dies after ten idle minutes, after about an hour in any case, and
as soon as the account logs in elsewhere.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .. import clock
from ..budget import Budget, Rate
from ..contract import ConfigError, Disconnected, Refused
from ..http import Answered, Http
from ..venue_clock import VenueClock

RENEW_AFTER_S = 46 * 60
"""The venue ends a session after about an hour; looked at every four minutes, so it is renewed within 50."""
_WRONG_KEY = {"error.null.api.key", "error.invalid.api.key"}
_WRONG_LOGIN = {"error.invalid.details", "error.null.identifier", "error.null.password", "error.invalid.accountId"}
_SESSION_WORDS = ("session", "client.token", "client-token")
_BAD_DER = (KeyError, TypeError, ValueError)


class Login(NamedTuple):
    """Who logs in; never shown."""

    identifier: str
    password: str
    api_key: str


class Tokens(NamedTuple):
    """What shows that we are logged in; ``number`` counts the logins."""

    cst: str
    security: str
    number: int = 0


class Session:
    """The one session of an account: logs in when it has to, and once again when the venue has forgotten it."""

    def __init__(self, base: str, login: Login, budget: Budget) -> None:
        self.http = Http(f"{base.rstrip('/')}/api/v1", budget)
        self.budget = budget
        self.clock = VenueClock()
        self.lost = asyncio.Event()
        """Set when the venue had forgotten the session: what was subscribed with its tokens is gone."""
        self.tokens: Tokens | None = None
        self._login_as = login
        self._logins = Budget(Rate(1, 1.2, use=1.0))  # the venue allows one a second
        self._lock = asyncio.Lock()
        self._number = 0
        self._since_s = 0.0

    def now_ms(self) -> int:
        """The venue's time."""
        return self.clock.now_ms()

    def is_old(self) -> bool:
        """Whether the session should be renewed before the venue ends it."""
        return self.tokens is None or clock.monotonic() - self._since_s >= RENEW_AFTER_S

    def rekey(self, login: Login) -> None:
        """Log in as another before the next request."""
        self._login_as, self.tokens = login, None

    def forget(self, tokens: Tokens) -> None:
        """Log in anew before the next request: the venue knows these no longer."""
        if self.tokens is not None and self.tokens.number == tokens.number:
            self.tokens = None

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """Ask with the tokens of the session; None if the venue says that there is nothing.

        :raises Disconnected: as :class:`Http`; ``auth``, where a new login did not help
        :raises ConfigError: the key or the login is wrong
        :raises Refused: the venue does not know what is asked for
        """
        tokens = await self.renewed(None)
        if self.clock.is_due():
            with suppress(Disconnected):
                await self.sync()
        try:
            return await self._asked(path, params, tokens)
        except Answered as said:
            if not is_session_error(code_of(said)):
                return _judge(said)
        self.lost.set()
        try:
            return await self._asked(path, params, await self.renewed(tokens))
        except Answered as said:
            return _judge(said)

    async def renewed(self, old: Tokens | None) -> Tokens:
        """Tokens of a login after the one that ``old`` is of; any are good if it is None."""
        async with self._lock:
            if self.tokens is None or (old is not None and self.tokens.number == old.number):
                await self._log_in()
            assert self.tokens is not None
            return self.tokens

    async def sync(self) -> None:
        """Learn the venue's time: ``{"serverTime": 1736173800123}``."""
        sent_s = clock.monotonic()
        try:
            self.clock.told(int((await self.http.get("/time"))["serverTime"]), sent_s)
        except (Answered, KeyError, TypeError, ValueError):
            raise Disconnected("Capital.com does not tell its time", kind="protocol") from None

    async def close(self) -> None:
        """Close the connections; the session itself ends by itself."""
        await self.http.close()

    @property
    def _key(self) -> dict[str, str]:
        return {"X-CAP-API-KEY": self._login_as.api_key}

    async def _asked(self, path: str, params: Mapping[str, str | int] | None, tokens: Tokens) -> Any:
        shown = {**self._key, "CST": tokens.cst, "X-SECURITY-TOKEN": tokens.security}
        body, headers = await self.http.ask("GET", path, params=params, headers=shown)
        now = self.tokens
        if now is not None and now.number == tokens.number:  # a late answer of an older login rotates nothing
            self.tokens = Tokens(headers.get("CST", now.cst), headers.get("X-SECURITY-TOKEN", now.security), now.number)
        return body

    async def _log_in(self) -> None:
        """``GET session/encryptionKey``, then ``POST session`` with the password under that key.

        ::

            {"encryptionKey": "<base64 of a DER public key>", "timeStamp": 1736173800123}
        """
        identifier, password, _ = self._login_as
        try:
            told = await self.http.get("/session/encryptionKey", headers=self._key)
            body = {"identifier": identifier, "password": encrypted(password, told), "encryptedPassword": True}
            await self._logins.spend()
            _, headers = await self.http.ask("POST", "/session", json=body, headers=self._key)
            self._number += 1
            self.tokens = Tokens(headers["CST"], headers["X-SECURITY-TOKEN"], self._number)
        except Answered as said:
            _judge(said)
            raise Disconnected("Capital.com has no login here", kind="protocol") from None
        except _BAD_DER:
            raise Disconnected("Capital.com's login answers without a key or tokens", kind="protocol") from None
        self._since_s = clock.monotonic()
        await self.sync()


def encrypted(password: str, told: Mapping[str, Any]) -> str:
    """The password as the venue wants it: base64 of RSA (PKCS #1 v1.5) over base64 of ``password|timeStamp``."""
    key = load_der_public_key(b64decode(told["encryptionKey"]))
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the venue's key is no RSA key")
    plain = b64encode(f"{password}|{told['timeStamp']}".encode())
    return b64encode(key.encrypt(plain, PKCS1v15())).decode()


def code_of(said: Answered) -> str:
    """The venue's error code: ``{"errorCode": "error.invalid.session.token"}``; empty if there is none."""
    return str(said.body.get("errorCode") or "") if isinstance(said.body, dict) else ""


def is_session_error(code: str) -> bool:
    """Whether the venue has forgotten the session; the family of codes grows, so it is told by its shape."""
    return code.startswith("error.security.") or any(word in code for word in _SESSION_WORDS)


def _judge(said: Answered) -> None:
    """Return if the venue means that there is nothing; else raise what it means."""
    code = code_of(said)
    if code in _WRONG_KEY:
        raise ConfigError(["option 'api_key' is not accepted by Capital.com: make one in its settings, "
                           "under API integrations"]) from None  # fmt: skip
    if code in _WRONG_LOGIN:
        raise ConfigError(["options 'identifier' and 'password' are not accepted by Capital.com: use the e-mail of "
                           "the account and the password that was set for this API key"]) from None  # fmt: skip
    if code.startswith("error.not-found"):
        raise Refused(f"Capital.com does not know it ({code})") from None
    if is_session_error(code) or said.status in (401, 403):
        raise Disconnected(f"Capital.com refuses the session ({code or said.status})", kind="auth") from None
    if code == "error.too-many.requests":
        raise Disconnected("Capital.com has been asked too often", 1.0, "rate") from None
    if said.status != 404 and code != "error.invalid.daterange":
        raise Disconnected(f"Capital.com answers {code or said.status}", kind="protocol") from None
