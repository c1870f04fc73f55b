"""Webhooks as in Glartek's Settings > Webhooks: any number, each with types and an endpoint.

[[webhook]]
types = ["Work Order Completed", "action.created"]   # or "all"
url = "https://receiver.example.org/webhooks/glartek/TOKEN"
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from examples.sender.play.payloads import Samples
from examples.sender.terminal import Refusal, without_secrets
from receiver import events

_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")  # RFC 3986, 2.1 to 2.3
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KEPT = ":/?#[]@!$&'()*+,;=%"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook: types and URL."""

    types: frozenset[str]
    url: str


def from_file(file: Path) -> list[Webhook]:
    """Read webhooks from a TOML file. Raises `Refusal` with the number of a wrong one."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(f"--webhooks {file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    listed = tables.get("webhook")
    if not isinstance(listed, list) or not listed or set(tables) != {"webhook"}:
        raise Refusal(f"--webhooks {file}: expected [[webhook]] tables, each with types and url, and nothing else")
    return [_from_table(f"--webhooks {file}, webhook {number}", table) for number, table in enumerate(listed, 1)]


def from_flag(flag: str) -> Webhook:
    """`TYPE,TYPE=URL` or `all=URL`. Raises `Refusal`."""
    types, equals, url = flag.partition("=")
    if not equals:
        raise Refusal(f"--webhook {flag}: expected TYPE,TYPE=URL or all=URL")
    return Webhook(_types(types.split(",")), endpoint(url))


def endpoint(url: str) -> str:
    """The URL, if Glartek's form would accept it; otherwise raises `Refusal`, if possible with the corrected URL.

    Glartek: the URL must be percent-encoded if it contains special characters.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    shown = without_secrets(url)
    if not usable:
        raise Refusal(f"{shown}: expected an http:// or https:// URL with a host")
    if not _ENCODED.fullmatch(url):
        correct = without_secrets(encoded(url))
        raise Refusal(f"{shown}: this URL is not percent-encoded; expected {correct}{_escapes(url)}")
    return url


def encoded(url: str) -> str:
    """The URL percent-encoded, without encoding twice; an international host name becomes punycode."""
    parts = urlsplit(url.strip())
    try:
        host = parts.netloc.encode("idna").decode()
    except UnicodeError:
        host = quote(parts.netloc, safe=_KEPT)
    rest = (quote(_STRAY_PERCENT.sub("%25", part), safe=_KEPT) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, host, *rest))


def _escapes(url: str) -> str:
    """How to encode each wrong character after the host; the corrected URL itself would show the token."""
    rest = _ESCAPE.sub("", url.partition("://")[2].partition("/")[2])
    wrong = dict.fromkeys(letter for letter in rest if not _ENCODED.fullmatch(letter))
    return "".join(f", {quote(letter, safe='')} for {letter!r}" for letter in wrong)


def _from_table(where: str, table: Any) -> Webhook:
    if not isinstance(table, dict) or set(table) != {"types", "url"} or not isinstance(table["url"], str):
        raise Refusal(f'{where}: expected exactly types = ["action.created"] (or "all") and url = "https://…"')
    types = table["types"]
    if types != "all" and not (isinstance(types, list) and types and all(isinstance(one, str) for one in types)):
        raise Refusal(f'{where}: types: expected a list of event types, or "all"')
    try:
        return Webhook(_types([types] if isinstance(types, str) else types), endpoint(table["url"]))
    except Refusal as refusal:
        raise Refusal(f"{where}: {refusal}") from None


def _types(words: Iterable[str]) -> frozenset[str]:
    named = [word.strip() for word in words]
    return frozenset(events.BY_NAME) if named == ["all"] else frozenset(map(Samples.ours().named, named))
