"""A dead letter as a test that fails until its handler is mended: a redacted sample, and a pytest that runs on it.

Both go beside the handler, into the customer's own package. The sample has the payload's structure, ids, times, types
and numbers; texts, people and secrets are pseudonyms (`receiver/events/redaction.py`), but for paths that are kept.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from receiver import events
from receiver.environment import SettingsError
from receiver.events.redaction import Redaction
from receiver.payload_settings import PayloadSettings
from receiver.visible import visible
from worker.letter import DeadLetter
from worker.same_error import same_error

_ANSWERED = re.compile(r"\b(?:answered|status|code|error|HTTP(?:/[\d.]+)?)[ :=]{1,3}([1-5]\d\d)\b", re.IGNORECASE)
_LONGEST = 80
"""Characters of an error in the test's docstring, which is one line."""


@dataclass(frozen=True, slots=True)
class FailingTest:
    """`folder` is where both files belong, seen from the project's; `name` is theirs, without suffix."""

    folder: PurePosixPath
    name: str
    sample: str
    code: str

    def files(self) -> dict[PurePosixPath, str]:
        """Path and content of each file."""
        path = self.folder / self.name
        return {path.with_suffix(".py"): self.code, path.with_suffix(".json"): self.sample}

    def write(self, project: Path, *, force: bool) -> list[str]:
        """Write both, and name them. Raises `SettingsError` where one is there, or the folder is not."""
        files = {project / path: content for path, content in self.files().items()}
        for path in files:
            if not path.parent.is_dir():
                raise SettingsError(f"--into: {path.parent} is no folder; expected the one that your package is in")
            if path.exists() and not force:
                raise SettingsError(f"{path} is there already; --force writes over it")
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        return [str(path) for path in files]


def answered(reason: str) -> int | None:
    """The status that a handler was answered, where the reason of its failure names one."""
    found = _ANSWERED.search(reason)
    return int(found[1]) if found else None


def redacted(payload: Mapping[str, Any], keep: Sequence[str], settings: PayloadSettings) -> dict[str, Any]:
    """The payload with pseudonyms, but for the values at the dotted paths `keep`."""
    sample: dict[str, Any] = Redaction(settings.where).value(payload, "")
    for path in keep:
        sample = _with(sample, payload, [step if step == "*" else events.normalised(step) for step in path.split(".")])
    return sample


def _with(sample: Any, payload: Any, steps: Sequence[str]) -> Any:
    """The sample with what the payload has at a path; `*` or nothing stands for every item of a list."""
    if not steps:
        return payload
    if isinstance(payload, list):
        rest = steps[1:] if steps[0] == "*" else steps
        return [_with(one, there, rest) for one, there in zip(sample, payload, strict=True)]
    if not isinstance(payload, Mapping):
        return sample
    pairs = zip(sample.items(), payload.items(), strict=True)  # a field's name may be a pseudonym; their order stays
    return {
        name: _with(one, there, steps[1:]) if events.normalised(field) == steps[0] else one
        for (name, one), (field, there) in pairs
    }


def make(
    letter: DeadLetter, sample: Mapping[str, Any], module: str, settings: PayloadSettings, answer: int | None = None
) -> FailingTest:
    """The test of a handler's dead letter; `module` has the handler, `answer` is what its requests were answered."""
    name = letter.handler.rpartition(".")[2]
    test = f"test_{letter.handler.replace('.', '_')}_{letter.delivery[:8]}"
    folder = PurePosixPath(*module.split(".")[:-1])
    code = _CODE.format(
        imports="\n".join(sorted([f"from {module} import {name}", "from worker import testing"])),
        name=name,
        test=test,
        error=_one_line(same_error(letter.reason)),
        day=f"{letter.at:%Y-%m-%d}",
        answer=answer or 200,
        why_answer="as it was then" if answer else "a guess: nothing tells what it was then",
        payload_map=_payload_map(settings, folder),
    )
    return FailingTest(folder, test, json.dumps(sample, ensure_ascii=False, indent=2) + "\n", code)


def _payload_map(settings: PayloadSettings, folder: PurePosixPath) -> str:
    """The argument that reads the sample as the worker does: tests read no `.env`."""
    if settings.payload_map is None:
        return ""
    path = PurePosixPath(settings.payload_map)
    beside = f'SAMPLE.with_name("{path.name}")' if path.parent == folder else f'Path("{path}")'
    return f", payload_map={beside}"


def _one_line(text: str) -> str:
    r"""A text from outside, safe in a docstring: without quotes that would end it, and without escapes."""
    return visible(text, _LONGEST).replace("\\", "/").replace('"', "'").rstrip(".")


_CODE = '''"""{name} failed for this event once. The sample beside it is redacted: read both before you commit them."""

from pathlib import Path

import pytest

{imports}

SAMPLE = Path(__file__).with_suffix(".json")
ANSWER = {answer}  # {why_answer}
"""What its requests are answered; a function of the request may answer as the target itself would."""


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    testing.example_settings(monkeypatch, {name})


async def {test}() -> None:
    """On {day} it was: {error}."""
    event = testing.make_event(SAMPLE{payload_map})
    result = await testing.run({name}, event, answer=ANSWER)
    assert result.state in {{"done", "skipped"}}, result.reason
'''
