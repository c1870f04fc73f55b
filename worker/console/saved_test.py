"""`GET /dead/tests/…`: a dead letter as a redacted sample and a pytest, in a zip to unpack where the package is."""

import io
import re
import zipfile

import structlog
from starlette.requests import Request
from starlette.responses import Response

from receiver.content import Unreadable
from receiver.environment import comma_separated
from receiver.figures import read as read_figures
from worker import failing_test
from worker.console.page import problem, visitor_of
from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere

log = structlog.get_logger()


async def saved_test(request: Request) -> Response:
    """The files of one dead letter; its handler is not run here, so nothing says whether the test fails."""
    state = request.state
    operator = Operator(state.redis, state.keys)
    letter = await operator.letter(request.path_params["letter"])
    if letter is None or letter.kind != "dead" or "." not in letter.handler:
        return await problem(request, 404, "no such dead letter of a handler: it was replayed or dropped")
    module = (await read_figures(state.redis, state.keys)).module_of(letter.handler)
    if module is None:
        return await problem(
            request,
            409,
            f"no worker that runs has {letter.handler} as a function of a module, so it cannot be imported",
        )
    try:
        received = (await operator.with_payload(letter)).received()
        keep = comma_separated(request.query_params.get("keep", ""))
        sample = state.masking.sample(received, keep) if received else None
    except (PayloadElsewhere, Unreadable) as error:
        return await problem(request, 409, str(error))
    if sample is None:
        return await problem(request, 404, "no such dead letter of a handler: it was replayed or dropped")
    made = failing_test.make(letter, sample, module, state.masking.settings, failing_test.answered(letter.reason))
    log.info("console: saved as test", who=visitor_of(request).name, dead_letter=letter.id)
    name = re.sub(r"[^\w.-]", "_", made.name, flags=re.ASCII)
    headers = {"content-disposition": f'attachment; filename="{name}.zip"'}
    return Response(_zipped(made), media_type="application/zip", headers=headers)


def _zipped(made: failing_test.FailingTest) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path, text in made.files().items():
            file.writestr(str(path), text)
    return archive.getvalue()
