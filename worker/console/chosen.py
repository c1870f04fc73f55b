"""Which dead letters an address or a form means, and how many of them a page looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

from starlette.requests import Request

from worker.console.page import Form, one
from worker.dead_letters import Operator
from worker.letter import Filter

PAGE = 50
LOOK, LOOK_FAR = 10_000, 200_000
"""The most dead letters that one page reads, the newest ones; and when asked for more."""
NAMES = tuple(field.name for field in fields(Filter))


class Chosen(NamedTuple):
    """Which dead letters an address or a form means: these ids, or all that match the words."""

    ids: Sequence[str]
    words: Mapping[str, str]

    @classmethod
    def of(cls, given: Form) -> "Chosen":
        ids = [dead_id for dead_id in given.get("id", []) if dead_id][:PAGE]
        return cls(ids, {} if ids else {name: one(given, name) for name in NAMES if one(given, name)})

    @property
    def about(self) -> str:
        """One line, for logs and pages."""
        if self.ids:
            return f"{len(self.ids)} chosen one by one"
        return ", ".join(f"{name} {value}" for name, value in self.words.items()) or "all"


def words_of(request: Request) -> Form:
    """The parameters in the address."""
    return {name: request.query_params.getlist(name) for name in request.query_params}


def look_of(request: Request) -> int:
    """How many dead letters this page looks at."""
    return LOOK_FAR if request.query_params.get("look") == "far" else LOOK


def operator_of(request: Request) -> Operator:
    return Operator(request.state.redis, request.state.keys)
