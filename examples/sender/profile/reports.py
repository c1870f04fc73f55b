"""A profile in words: for the terminal, as JSON and as one HTML page."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from examples.sender import pages
from examples.sender.profile.conclusions import Profile, Reaction
from examples.sender.profile.proposal import Proposal

_NOT_HTTP = " (is the URL percent-encoded?)"
REACTIONS = ("ANSWER", "GIVEN", "SENT AGAIN", "AFTER", "WHAT THE SENDER DID")


def as_dict(profile: Profile, proposal: Proposal, settings: dict[str, Any]) -> dict[str, Any]:
    """All of it, with the settings of the script that was played."""
    reactions = [{**asdict(reaction), "meaning": reaction.meaning} for reaction in profile.reactions]
    return {
        "settings": settings,
        "profile": {**asdict(profile), "reactions": reactions},
        "proposal": asdict(proposal),
    }


def reactions(profile: Profile) -> list[tuple[str, ...]]:
    """One row for each way of answering."""
    return [
        (one.answer, str(one.given), str(one.sent_again), _waits(one), one.meaning) for one in profile.reactions
    ]  # fmt: skip


def facts(profile: Profile) -> list[tuple[str, str]]:
    """(question, answer) in words; what was not seen is said to be so."""
    return [
        ("requests and events", f"{profile.requests} requests for {profile.events} events"),
        ("types seen", _words(profile.types)),
        ("types not seen", _words(profile.types_missing)),
        ("types that the catalog does not know", _words(profile.types_unknown)),
        ("tries", f"at most {profile.most_tries} for one event"),
        ("waits between tries", ", ".join(f"{wait:g} s" for wait in profile.schedule) or "no event was sent again"),
        ("Retry-After", profile.retry_after),
        ("time-out", profile.timeout),
        ("redirects", profile.redirects),
        ("retries that are byte-identical", f"{profile.byte_identical} of {profile.repeats}"),
        ("fields that change on a retry", _words(profile.fields_changing)),
        ("headers that change on a retry", _words(profile.headers_changing)),
        ("headers that stay", _words(profile.headers_constant)),
        ("order", f"{profile.out_of_order} events came before one that happened earlier"),
        ("at once", f"at most {profile.most_at_once} requests, on {profile.connections} connections in all"),
        ("content type", _counted(profile.content_types)),
        ("user agent", _words(profile.user_agents)),
        ("HTTP", _counted(profile.http)),
        ("TLS", _words(profile.tls)),
        ("endpoint's URL", profile.endpoint),
        ("requests that are not HTTP", f"{profile.malformed}{_NOT_HTTP if profile.malformed else ''}"),
    ]


def html(profile: Profile, proposal: Proposal, settings: dict[str, Any]) -> str:
    """One page with the proposal first: that is what the reader came for."""
    return pages.page(
        "Webhook sender profile",
        f"{profile.requests} requests, {profile.events} events. {proposal.replayed}",
        pages.listing("Settings for the kit", proposal.lines()),
        pages.table(("Why",), [(reason,) for reason in [*proposal.reasons, *never(proposal)]]),
        pages.table(REACTIONS, reactions(profile)),
        pages.table(("Question", "Seen"), facts(profile)),
        pages.table(("Script", "Used"), [(name, str(value)) for name, value in settings.items()]),
    )


def never(proposal: Proposal) -> list[str]:
    return [f"never use {', '.join(proposal.never)} as an id"] if proposal.never else []


def _waits(reaction: Reaction) -> str:
    if not reaction.gaps:
        return ""
    low, high = min(reaction.gaps), max(reaction.gaps)
    return f"{low:.1f} s" if high - low < 0.1 else f"{low:.1f} to {high:.1f} s"  # noqa: PLR2004 - as precise as shown


def _words(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{words} ({count} times)" for words, count in counts.items()) or "none"
