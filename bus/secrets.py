"""Secrets in an actor's options: `{ env = "NAME" }` and `{ file = "path" }`, kept out of the topology."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import TopologyError

_SHORTEST = 6
_known: set[str] = set()


class Secret(str):
    """A string whose repr does not show it; what prints options prints three stars."""

    __slots__ = ()

    def __new__(cls, value: object = "") -> Secret:
        """Remember it too, for those who repeat what others say."""
        text = str.__new__(cls, value)
        if len(text) >= _SHORTEST:
            _known.add(str.__str__(text))
        return text

    def __repr__(self) -> str:
        return "'***'"


def without_secrets(text: str) -> str:
    """The text with three stars for every secret that this process has met: a venue may repeat a key that is wrong."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class Secrets:
    """Reads secrets from the environment, a `.env` file in ``base`` (the environment wins) and files."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def resolve(self, value: Any, place: str, problems: list[str]) -> Any:
        """The value with every reference in it replaced; what cannot be found is appended to ``problems``."""
        match value:
            case {"env": str(name), **rest} if not rest:
                return self._from_environment(name, place, problems)
            case {"file": str(name), **rest} if not rest:
                return self._from_file(name, place, problems)
            case dict():
                return {key: self.resolve(item, f"{place}.{key}", problems) for key, item in value.items()}
            case list():
                return [self.resolve(item, f"{place}[{i}]", problems) for i, item in enumerate(value)]
        return value

    def _from_environment(self, name: str, place: str, problems: list[str]) -> Secret:
        if not (found := self._environment.get(name)):
            dotenv = self._base / ".env"
            problems.append(f"{place}: {name} is not in the environment: export it, or set it in {dotenv}")
        return Secret(found or "")

    def _from_file(self, name: str, place: str, problems: list[str]) -> Secret:
        path = self._base / os.path.expanduser(name)
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            problems.append(f"{place}: the secret {path} cannot be read: {reason}")
            return Secret()
        if not found:
            problems.append(f"{place}: the secret {path} is empty")
        return Secret(found)

    @cached_property
    def _environment(self) -> dict[str, str | None]:
        path = self._base / ".env"
        if not path.is_file():
            return dict(os.environ)
        from dotenv import dotenv_values  # slow to import, and few topologies have the file

        try:
            return {**dotenv_values(path, interpolate=False), **os.environ}
        except (OSError, ValueError):
            raise TopologyError([f"{path} cannot be read: save it as UTF-8 text that its owner may read"]) from None


def redacted(value: Any) -> Any:
    """The value with three stars for every secret in it."""
    match value:
        case Secret():
            return "***"
        case dict():
            return {key: redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [redacted(item) for item in value]
    return value
