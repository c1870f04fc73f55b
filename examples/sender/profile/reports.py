"""A profile as a report: for the terminal, as JSON and as one HTML page."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from examples.sender import pages
from examples.sender.profile.conclusions import Profile, Try
from examples.sender.profile.proposal import Proposal
from examples.sender.profile.reactions import Reaction
from examples.sender.terminal import span
from receiver.visible import visible

_NOT_HTTP = " (is the URL percent-encoded?)"
_SHOWN = 40  # events in the timeline
REACTIONS = ("ANSWER", "GIVEN", "SENT AGAIN", "AFTER", "WHAT THE SENDER DID")


def as_dict(profile: Profile, proposal: Proposal, settings: dict[str, Any]) -> dict[str, Any]:
    """The whole profile, with the settings of the script."""
    reactions = [{**asdict(reaction), "meaning": reaction.meaning} for reaction in profile.reactions]
    return {
        "settings": settings,
        "profile": {**asdict(profile), "reactions": reactions},
        "proposal": asdict(proposal),
    }


def reactions(profile: Profile) -> list[tuple[str, ...]]:
    """One row for each kind of answer."""
    return [(one.answer, str(one.given), str(one.sent_again), _waits(one), one.meaning) for one in profile.reactions]


def facts(profile: Profile) -> list[tuple[str, str]]:
    """(question, answer) as text; also for what was not observed."""
    return [
        ("requests and events", f"{profile.requests} requests for {profile.events} events"),
        ("types seen", _words(profile.types)),
        ("types not seen", _words(profile.types_missing)),
        ("types that the catalog does not know", _words(profile.types_unknown)),
        ("tries", profile.tries),
        ("waits between tries", ", ".join(map(span, profile.schedule)) or "no event was sent again"),
        ("Retry-After", profile.retry_after),
        ("time-out", profile.timeout),
        ("redirects", profile.redirects),
        ("retries that are byte-identical", f"{profile.byte_identical} of {profile.repeats}"),
        ("fields that change on a retry", _words(profile.fields_changing)),
        ("headers that change on a retry", _words(profile.headers_changing)),
        ("headers that stay", _words(profile.headers_constant)),
        ("order", _order(profile)),
        ("requests at once", f"at most {profile.most_at_once}"),
        ("connections", f"{profile.connections} for {profile.requests} requests"),
        ("content type", _counted(profile.content_types)),
        ("user agent", _words(profile.user_agents)),
        ("HTTP", _counted(profile.http)),
        ("TLS", ", ".join(profile.tls) or "none: plain HTTP"),
        ("endpoint's URL", profile.endpoint),
        ("requests that are not HTTP", f"{len(profile.malformed)}{_NOT_HTTP if profile.malformed else ''}"),
    ]


def html(profile: Profile, proposal: Proposal, settings: dict[str, Any]) -> str:
    """One page, with the proposal first, because it matters most."""
    tiles = (
        (profile.events, "events", ""),
        (profile.requests, "requests", ""),
        (profile.most_tries, "tries of an event at most", ""),
        (f"{profile.byte_identical} of {profile.repeats}", "retries were byte-identical", ""),
    )
    shown = [_row(number, *told) for number, told in enumerate(profile.timeline[:_SHOWN], 1)]
    columns = ("Answer", "Given#", "Sent again#", "After#", "What the sender did")
    script = [(name, ", ".join(value) if isinstance(value, list) else str(value)) for name, value in settings.items()]
    return pages.page(
        "Webhook sender profile",
        proposal.replayed or "nothing arrived",
        pages.tiles(tiles),
        *(pages.card("failed", doubt, ()) for doubt in profile.doubts),
        pages.listing("Settings for the kit (.env)", proposal.env()) if proposal.settings else "",
        pages.listing("payload.toml", proposal.payload_toml) if proposal.payload_toml else "",
        pages.points(proposal.reasons),
        *(pages.card("warning", reason, ()) for reason in never(proposal)),
        pages.table(columns, reactions(profile), "How it takes each answer"),
        pages.timeline(f"Its tries, for the first {len(shown)} events" if shown else "", shown),
        pages.table(("Question", "Seen"), facts(profile), "What was seen"),
        pages.folded("The script that was played", pages.table(("Setting", "Used"), script)),
    )


def never(proposal: Proposal) -> list[str]:
    what = ", ".join(map(visible, proposal.never))
    why = "new on every try, shared by several events, or the id of what they are about"
    return [f"never use as an id: {what}: {why}"] if what else []


def _waits(reaction: Reaction) -> str:
    if not reaction.gaps:
        return ""
    low, high = min(reaction.gaps), max(reaction.gaps)
    return span(low) if span(low) == span(high) else f"{span(low)} to {span(high)}"


def _order(profile: Profile) -> str:
    if profile.out_of_order is None:
        return "cannot be told: too few events that say when they happened"
    return f"{profile.out_of_order} of {profile.events} events came after one that happened later"


def _row(number: int, event_type: str, tries: Sequence[Try]) -> tuple[str, list[pages.Mark]]:
    marks = [
        pages.Mark(
            one.at, one.seconds, "passed" if one.good else "failed", f"{one.answer}, open for {span(one.seconds)}"
        )
        for one in tries
    ]
    return f"{number} {event_type}", marks


def _words(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{words} ({count} times)" if count > 1 else words for words, count in counts.items()) or "none"
