"""`python -m examples.handlers.external_system preview`: the exact request, before anything is sent."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from examples.handlers import external_system
from examples.handlers.external_system.__main__ import app
from receiver.idempotency import delivery_id
from worker import Context, Event

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

runner = CliRunner()
URL = ["--url", "https://erp.example.com"]


@pytest.fixture(autouse=True)
def _no_settings(clean_environment: Path) -> None:
    assert clean_environment


def test_the_request_is_shown_as_it_would_be_sent() -> None:
    """Method, URL, headers and body of a sample from the catalog."""
    result = runner.invoke(app, ["preview", "Work Order Completed", *URL])
    assert result.exit_code == 0
    head, _, body = result.stdout.partition("\n\n")
    assert head.splitlines()[0] == "PATCH https://erp.example.com/api/work-orders/wo_5d2c81"
    delivery = delivery_id("event-id", "evt_01JBSAMPLE0006")
    assert f"Idempotency-Key: external_system.update:{delivery}" in head.splitlines()
    assert json.loads(body)["status"] == "COMPLETED"


@pytest.mark.anyio
async def test_what_is_shown_is_what_is_sent(
    serve: Callable[[Starlette], str],
    configure: "Configure",
    context: Callable[..., Context],
    sample: Callable[..., Event],
) -> None:
    """Method, URL, headers and body, held against a request of the handler itself."""
    seen: list[tuple[Request, Any]] = []

    async def take(request: Request) -> Response:
        seen.append((request, await request.json()))
        return Response()

    url = serve(Starlette(routes=[Route("/{path:path}", take, methods=["PATCH"])]))
    configure(url=url)
    result = await asyncio.to_thread(runner.invoke, app, ["preview", "work_order.completed", "--json"])
    [shown] = json.loads(result.stdout)
    key = shown["headers"]["Idempotency-Key"]
    await external_system.update(sample("work_order.completed"), context(key=key))
    [(request, body)] = seen
    assert (request.method, str(request.url), body) == (shown["method"], shown["url"], shown["body"])
    assert {name: request.headers[name] for name in shown["headers"]} == shown["headers"]


def test_the_steps_before_it_are_shown_too() -> None:
    """SAP's GET, ServiceNow's lookup; secrets never."""
    sap = runner.invoke(app, ["preview", "work_order.completed", "--target", "sap_maintenance_order", *URL]).stdout
    assert "x-csrf-token: Fetch" in sap
    assert "x-csrf-token: (x-csrf-token from the answer above)\nif-match: (etag from the answer above)\n" in sap
    snow = runner.invoke(app, ["preview", "work_order.completed", "--target", "servicenow", "--json", *URL]).stdout
    first, second = json.loads(snow)
    assert first["url"].startswith("https://erp.example.com/api/now/table/wm_order?number=WO-2026-00481")
    assert second["url"].endswith("/api/now/table/wm_order/(result.0.sys_id from the answer above)")
    assert second["headers"]["Authorization"] == "Bearer *** (a token from https://erp.example.com/oauth_token.do)"


def test_a_file_or_standard_input_will_do(tmp_path: Path) -> None:
    """A payload of the customer's own shows what would become of it."""
    payload = json.dumps({"id": "e", "type": "Work Order Completed", "workOrder": {"id": 7, "status": "Done"}})
    (tmp_path / "mine.json").write_text(payload)
    from_file = runner.invoke(app, ["preview", str(tmp_path / "mine.json"), *URL]).stdout
    assert from_file.startswith("PATCH https://erp.example.com/api/work-orders/7\n")
    assert runner.invoke(app, ["preview", "-", *URL], input=payload).stdout == from_file


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["work_order.complete", *URL],
            "work_order.complete: cannot read it: No such file or directory; expected a file",
        ),
        (["action.created", *URL], "action.created: the event names no Work Order"),
        (["work_order.completed"], "EXTERNAL_URL: is not set"),
        (["work_order.completed", "--url", "ftp://x"], "EXTERNAL_URL: expected a URL such as"),
        (["work_order.completed", "--target", "sap", *URL], "EXTERNAL_TARGET: expected generic_rest, sap_maint"),
        (["-", *URL], "the body is empty"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], expected: str) -> None:
    """What was expected, exit code 2, no traceback."""
    result = runner.invoke(app, ["preview", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(expected)
    assert len(result.stderr.splitlines()) == 1
