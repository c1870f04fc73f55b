"""Reads a body: one parser for the receiver, the worker and `explain`, so that all three get the same result.

    bytes ─▶ unpacked (Content-Encoding) ─▶ text in UTF-8 ─▶ number of values checked ─▶ a JSON object

Each step has a limit: a body within MAX_BODY_BYTES can unpack to a thousand times its size, and parsed JSON takes up
to forty times the bytes of its text in memory.
"""

import codecs
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

MOST_VALUES = 100_000
"""Most values (texts, numbers, lists, objects) in one event, for each MiB of MAX_BODY_BYTES, at least for one."""
DEEPEST = 200
"""Most levels of nested lists and objects, about the limit of pydantic's parser."""
RATIO, FLOOR = 100, 64 * 1024
"""A compressed body may unpack to `RATIO` times its size, and always to `FLOOR` bytes."""
_BYTES_PER_VALUE = 200  # memory of an object with one field, in CPython
_MOST_LAYERS = 2  # of compression: a proxy may compress a body that its client has compressed
_MOST_MEMBERS = 100  # in one gzip body
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 64 * 1024  # bytes scanned at once


class Unreadable(Exception):
    """The body is not an event. The message says why in one line, without any of the content."""


def read(headers: Mapping[str, str], body: bytes, limit: int) -> tuple[dict[str, Any], bytes]:
    """The JSON object in a body, and its text in UTF-8 without a byte order mark.

    `headers` by lower-case name; `limit` is the most bytes of the unpacked body. Raises only `Unreadable`: if the body
    is not a JSON object, or exceeds a limit.
    """
    payload, text = read_any(headers, body, limit)
    if not isinstance(payload, dict):
        raise Unreadable(f"the body is JSON but not an object: {_kind(payload)}")
    return payload, text


def read_any(headers: Mapping[str, str], body: bytes, limit: int) -> tuple[Any, bytes]:
    """The same for any JSON value: a body that is a list may be a batch."""
    encodings = headers.get("content-encoding")
    text = _in_utf8(body if encodings is None else _unpacked(encodings, body, limit))
    if len(text) > MOST_VALUES:  # a shorter text cannot have so many values
        _check_values(text, _most_values(limit))
    return _parsed(text), text


def packing(body: bytes) -> str:
    """The compression that a body's first bytes show: "gzip", "deflate" (zlib format) or ""."""
    if body.startswith(_GZIP_MAGIC):
        return "gzip"
    is_zlib = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    return "deflate" if is_zlib else ""


def size_bound(headers: Mapping[str, str], body: bytes, limit: int) -> int:
    """The most bytes that a body may unpack to, computed without unpacking it."""
    encodings = headers.get("content-encoding")
    if encodings is None or not _layers(encodings):
        return len(body)
    return min(limit, max(FLOOR, RATIO * len(body)))


def memory_bound(headers: Mapping[str, str], body: bytes, limit: int) -> int:
    """The most bytes of memory that a worker needs for an event, with its payload and its text.

    That is the body, four bytes for each byte of text in both `raw` and `payload` (one emoji makes CPython store a
    text with four bytes per character), and the objects of the values.
    """
    size = size_bound(headers, body, limit)
    values = min(size // 5, _most_values(limit))  # an object with a field takes five bytes at least: `{"":` and `}`
    return len(body) + 8 * size + _BYTES_PER_VALUE * values


# ── unpack ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _layers(encodings: str) -> list[str]:
    """The codings in a Content-Encoding header, in the order of encoding, without `identity`."""
    names = [name.strip().lower() for name in encodings.split(",")]
    return [name for name in names if name not in {"", "identity"}]


def _unpacked(encodings: str, body: bytes, limit: int) -> bytes:
    layers = _layers(encodings)
    if len(layers) > _MOST_LAYERS:
        raise Unreadable(f"the body is compressed {len(layers)} times; expected {_MOST_LAYERS} at most")
    room = min(limit, max(FLOOR, RATIO * len(body)))
    packed = body
    for layer in reversed(layers):
        packed = _without(layer, packed, room)
        if len(packed) > room:
            what = f"MAX_BODY_BYTES ({limit})" if room == limit else f"{RATIO} times its {len(body)} bytes"
            raise Unreadable(f"the body unpacks to more than {what}")
    return packed


def _without(layer: str, packed: bytes, room: int) -> bytes:
    """The bytes with one layer of compression removed; stops once they exceed `room`."""
    if not packed:
        return packed
    form, size, parts = _form(layer, packed), 0, []
    for _ in range(_MOST_MEMBERS):
        unpacker = zlib.decompressobj(form)
        try:
            parts.append(unpacker.decompress(packed, room - size + 1))
        except zlib.error:
            raise Unreadable(f"the body says {layer} and is not, or is damaged") from None
        size += len(parts[-1])
        packed = unpacker.unused_data.lstrip(b"\0")  # some tools pad with zeros
        if size > room or (unpacker.eof and not packed):
            return b"".join(parts)
        if not unpacker.eof:
            raise Unreadable(f"the body's {layer} data is cut off")
        if form != _GZIP or not packed.startswith(_GZIP_MAGIC):
            raise Unreadable(f"the body's {layer} data is followed by something else")
    raise Unreadable(f"the body has more than {_MOST_MEMBERS} gzip members")


def _form(layer: str, packed: bytes) -> int:
    """The `wbits` for zlib. "deflate" means the zlib format (RFC 9110, 8.4.1.2), but some clients send raw deflate."""
    if layer not in {"gzip", "x-gzip", "deflate"}:
        raise Unreadable(f"the body is compressed with {layer[:20]!r}; expected gzip, deflate or none")
    if begins := packing(packed):
        return _GZIP if begins == "gzip" else _ZLIB
    if layer == "deflate":
        return _RAW
    raise Unreadable(f"the body says {layer} and is not")


# ── read ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_utf8(text: bytes) -> bytes:
    """JSON text in UTF-8 without a byte order mark; the first bytes tell the encoding (RFC 4627, section 3)."""
    if text[:1] == b"{" and text[1:2] != b"\0":  # the usual case, decided fast
        return text
    encoding = json.detect_encoding(text)
    if encoding == "utf-8":
        return text
    if encoding == "utf-8-sig":
        return text[len(codecs.BOM_UTF8) :]
    try:
        return text.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise _not_text(encoding[:6], error) from None


def _most_values(limit: int) -> int:
    return MOST_VALUES * max(limit, 1 << 20) // (1 << 20)


def _check_values(text: bytes, most: int) -> None:
    """Limit the number of values by counting commas and opening brackets: each value but the first follows one."""
    if sum(map(text.count, (b",", b"[", b"{"))) <= most:
        return
    if sum(map(len, _outside_strings(text, b",[{"))) > most:
        raise Unreadable(f"the body is JSON of too many values: more than {most} commas and opening brackets")


def _check_depth(text: bytes) -> None:
    depth = 0
    for piece in _outside_strings(text, b"[{]}"):
        for bracket in piece:
            depth += 1 if bracket in b"[{" else -1
            if depth > DEEPEST:
                raise Unreadable(f"the body is JSON nested too deeply: more than {DEEPEST} levels")


def _outside_strings(text: bytes, wanted: bytes) -> Iterator[bytes]:
    """The bytes of a JSON text that are in `wanted` and outside of strings, in order, in pieces."""
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # every remaining quote begins or ends a string
    text = text.translate(None, bytes(set(range(256)) - set(wanted + b'"')))
    text = text.replace(b'""', b"")
    quotes = 0
    for start in range(0, len(text), _PIECE):
        parts = text[start : start + _PIECE].split(b'"')
        yield from parts[quotes % 2 :: 2]
        quotes += len(parts) - 1


def _parsed(text: bytes) -> Any:
    """The result of `json.loads`, in a third of its time.

    pydantic's parser gives the same result, but refuses lone surrogates and deep nesting; then `json` parses the text,
    which also tells the position of an error.
    """
    try:
        return from_json(text)
    except ValueError:
        _check_depth(text)
    try:
        return json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise _not_text("utf-8", error) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"the body is not JSON ({where})" if text.strip() else "the body is empty") from None
    except ValueError:  # Python's limit on the digits of one number
        raise Unreadable("the body is JSON with a number too long to read") from None


def _not_text(encoding: str, error: UnicodeDecodeError) -> Unreadable:
    return Unreadable(f"the body is not {encoding.upper()} text (byte {error.start})")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    return {str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
