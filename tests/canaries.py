"""Unique words for secrets and payloads, which tests plant and then look for wherever something is printed."""

import base64
import hashlib
import json


def canary(name: str) -> str:
    """A word of 32 letters and digits that is nowhere else, and that base64 can read."""
    return "Zq7" + hashlib.sha256(name.encode()).hexdigest()[:29]


PAYLOAD = [canary(f"payload {place}") for place in ("title", "note", "deep", "name", "text")]
"""The words of every payload."""


def payload(event_id: str, **more: object) -> bytes:
    title, note, deep, name, text = PAYLOAD
    action = {"id": "a7", "title": title, "description": deep, "assignee": {"name": name, "email": f"{name}@x.y"}}
    fields = {"id": event_id, "type": "action.created", "title": title, "note": note, "action": action}
    return json.dumps({**fields, "more": {"list": [{"text": text}], text: 1}, **more}).encode()


def found(texts: dict[str, str], words: dict[str, str]) -> list[str]:
    """Which words are where, as they are or in base64 (as basic authentication has them)."""
    coded = {name: base64.b64encode(word.encode()).decode()[:-4] for name, word in words.items()}
    return [
        f"{name} in {where}: …{text[max(0, at - 200) : at + 60]}"
        for where, text in texts.items()
        for name, word in words.items()
        for form in (word, coded[name])
        if (at := text.find(form)) >= 0
    ]
