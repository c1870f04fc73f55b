"""Advice by the kind of failed answer, for failures that are not the fault a check looks for."""

import re
from collections.abc import Iterable

from examples.sender.http.reply import Reply

QUEUE = "Store the event in a queue and answer; let a worker handle it outside of the request."
_OVERLOADED = "It reports that it is overloaded or not ready: find out what it waits for, and raise its concurrency."
_BROKE = "It fails in the request: look for this error in the receiver's log."

_CERTIFICATE = (
    "Serve a certificate for this host name, from a public authority, with its whole chain. (This tool also trusts "
    "a private authority in SSL_CERT_FILE; Glartek has no setting for one.)"
)
# The first text that the error contains decides.
_ERRORS = (
    ("certificate", _CERTIFICATE),
    ("refused", "Nothing listens there: start the receiver, or correct host and port of the URL."),
    ("name or service", "The host name is not known: correct the URL, or publish the name in the DNS."),
    ("address associated", "The host name has no address: correct the URL, or publish the name in the DNS."),
    ("ssl", "Host and port do not speak TLS as the URL says: compare http:// and https://."),
    ("cannot connect", "Cannot connect: let the port through the firewall, and accept connections faster."),
    ("no answer", QUEUE),
)  # fmt: skip
_NOT_HTTP = "The server there does not speak HTTP/1.1, or expects TLS: compare http:// and https://."
_BROKE_OFF = "It broke the connection: look into its log, and that of a proxy in front of it."
_CROWDED = (
    "It breaks connections when there are many: raise its listen backlog and the number of its workers, or use an "
    "asynchronous server; look into its log, and that of a proxy in front of it."
)
_STATUSES = {
    401: "Accept events without an extra header: the URL is the only place for a secret. If the receiver needs "
    "a Standard Webhooks signature, pass --secret.",
    403: "Accept the event: find out what refuses it, the receiver or a proxy in front (an allow list, a bot filter).",
    404: "Correct the path and the token of the URL, or the receiver's route.",
    405: "Accept POST at this path.",
    413: "Raise the limit on bodies, in the receiver and in the proxy in front of it.",
    429: "Remove the rate limit from this endpoint, or raise it far above your busiest hour; a queue absorbs peaks.",
    503: _OVERLOADED,
}


def against(reply: Reply) -> str:
    """Advice for this answer to an ordinary event."""
    if reply.status is None:
        otherwise = _NOT_HTTP if "not HTTP" in (reply.error or "") else _BROKE_OFF
        return elsewhere([reply]) or otherwise
    if reply.status in _STATUSES:
        return _STATUSES[reply.status]
    if 300 <= reply.status < 400:  # noqa: PLR2004 - redirects
        return "Give Glartek the URL that this one redirects to: it does not document that it follows redirects."
    if 400 <= reply.status < 500:  # noqa: PLR2004 - the event is refused
        return "Accept the event as it is. If it refuses this kit's invented payload, pass your real ones: --samples."
    if reply.status >= 500:  # noqa: PLR2004 - it broke
        return _BROKE
    return "Answer 200 with an empty body as soon as the event is stored, whatever its type."


def elsewhere(replies: Iterable[Reply]) -> str:
    """Advice if these answers show a cause outside of the check, such as a wrong host; "" otherwise."""
    for reply in replies:
        error = (reply.error or "").casefold()
        if reply.status is None and (found := [told for word, told in _ERRORS if word in error]):
            return found[0]
    return ""


def under_load(replies: Iterable[Reply], otherwise: str) -> str:
    """Advice if many events are answered differently than one."""
    listed = list(replies)
    statuses = [reply.status for reply in listed if reply.status and reply.status >= 400]  # noqa: PLR2004 - refusals
    if told := elsewhere(listed):
        return told
    if statuses:
        return against(Reply(max(statuses, key=statuses.count)))
    return _CROWDED if any(re.search("broke|closed", reply.error or "") for reply in listed) else otherwise
