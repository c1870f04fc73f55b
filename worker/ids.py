"""Ids as people type them: any beginning that only one id has; as commands print them: a short such beginning.

A delivery's id is 24 hexadecimal digits; a dead letter's is that, a colon, and its handler (or `conflict:…`, `job`).
Both parts may be shortened: `3f0c2d3e:teams`.
"""

from collections.abc import Collection, Iterable

from receiver.environment import SettingsError

SHORT = 8
_SHOWN = 5


def short(wanted: str, ids: Collection[str]) -> str:
    """The shortest form, of eight characters at least, that means this one among these ids."""
    head, colon, tail = wanted.partition(":")
    others = [other for other in ids if other[:SHORT] == wanted[:SHORT] and other != wanted]
    for form in (head[:SHORT], *(f"{head[:SHORT]}:{tail[:size]}" for size in range(1, len(tail) + 1) if colon)):
        if not any(means(form, other) for other in others):
            return form
    return next((wanted[:size] for size in range(SHORT, len(wanted)) if not matching(wanted[:size], others)), wanted)


def means(name: str, whole: str) -> bool:
    """Whether an id may be meant by what somebody typed."""
    head, colon, tail = name.partition(":")
    whole_head, _, whole_tail = whole.partition(":")
    return whole.startswith(name) or bool(colon and whole_head.startswith(head) and whole_tail.startswith(tail))


def matching(name: str, ids: Iterable[str]) -> list[str]:
    """The ids that may be meant; one alone when it is that very one."""
    found = [one for one in dict.fromkeys(ids) if name and means(name, one)]
    return [name] if name in found else found


def the_one(name: str, ids: Iterable[str]) -> str | None:
    """The id that is meant, None when none is. Raises `SettingsError` when it may be several."""
    found = matching(name, ids)
    if len(found) > 1:
        more = ", …" if len(found) > _SHOWN else ""
        raise SettingsError(f"{name}: {len(found)} ids begin so ({', '.join(found[:_SHOWN])}{more}); type more of it")
    return found[0] if found else None
