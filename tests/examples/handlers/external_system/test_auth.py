"""Who we are to the target, as it arrives there."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from examples.handlers import external_system
from examples.handlers.external_system import TargetUnavailable
from receiver.environment import SettingsError
from worker import Context, Event, GiveUp, RetryLater

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

pytestmark = pytest.mark.anyio
MODULE = """\
from examples.handlers.external_system.target import Target, api_key, basic, bearer, no_auth, oauth2, url


async def update(order, body, session):
    await session.call("POST", url("/o"), body)


TARGET = Target(name="erp", body=lambda event, order: {"x": 1}, update=update, headers={"X-Tenant": "t"}, auth=%s)
"""


@pytest.mark.parametrize(
    ("auth", "secrets", "header", "value"),
    [
        ("bearer", {"token": "T"}, "authorization", "Bearer T"),
        (
            "basic",
            {"username": "ü", "password": "p:w"},
            "authorization",
            "Basic " + base64.b64encode("ü:p:w".encode()).decode(),
        ),
        ('api_key("X-Api-Key")', {"api_key": "K"}, "x-api-key", "K"),
        ("no_auth", {}, "authorization", None),
    ],
)
async def test_each_kind_arrives(  # noqa: PLR0917 - four are fixtures
    serve: Callable[[Starlette], str],
    configure: "Configure",
    context: Callable[..., Context],
    sample: Callable[..., Event],
    module: Callable[[str], str],
    auth: str,
    secrets: dict[str, str],
    header: str,
    value: str | None,
) -> None:
    """Bearer, basic, API key and none, beside the module's own headers."""
    seen: list[Request] = []

    async def take(request: Request) -> Response:
        seen.append(request)
        return Response()

    app = Starlette(routes=[Route("/o", take, methods=["POST"])])
    configure(url=serve(app), target=module(MODULE % auth), **secrets)
    await external_system.update(sample("work_order.completed"), context())
    assert seen[0].headers.get(header) == value
    assert seen[0].headers["x-tenant"] == "t"


@pytest.mark.parametrize(
    ("auth", "secrets"),
    [("bearer", {"token": "S3CRET"}), ("basic", {"username": "user", "password": "S3CRET"})],
)
async def test_a_secret_that_the_target_repeats_is_hidden(  # noqa: PLR0917 - five are fixtures
    serve: Callable[[Starlette], str],
    configure: "Configure",
    context: Callable[..., Context],
    sample: Callable[..., Event],
    module: Callable[[str], str],
    auth: str,
    secrets: dict[str, str],
) -> None:
    """Dead letters are read by people: the target's answer is cut and holds none of our secrets."""

    async def repeat(request: Request) -> Response:
        return PlainTextResponse(f"bad token {request.headers['authorization']}\n" + "x" * 1000, 400)

    app = Starlette(routes=[Route("/o", repeat, methods=["POST"])])
    configure(url=serve(app), target=module(MODULE % auth), **secrets)
    with pytest.raises(GiveUp) as refused:
        await external_system.update(sample("work_order.completed"), context())
    said = f"the external system answered 400: bad token {auth.title()} *** xxx"
    assert refused.value.reason.startswith(said)
    assert len(refused.value.reason) < 400


@pytest.mark.parametrize(
    "answer",
    [
        Response("no JSON"),
        Response('{"token": 1}'),
        Response('{"access_token": null}'),
        Response('{"access_token": ""}'),
        Response('{"access_token": "a\\nb"}'),
        Response('{"access_token": "t", "expires_in": "soon"}'),
        HTMLResponse("<title>hibernating</title>"),
        Response(status_code=302),
        Response(status_code=503),
    ],
)
async def test_a_token_endpoint_that_is_out_of_order_is_tried_again(
    serve: Callable[[Starlette], str],
    configure: "Configure",
    context: Callable[..., Context],
    sample: Callable[..., Event],
    answer: Response,
) -> None:
    """Nonsense or 503 instead of a token is a failure for now."""

    async def token(_: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/oauth_token.do", token, methods=["POST"])])
    configure(url=serve(app), target="servicenow", client_id="c", client_secret="s")
    with pytest.raises(TargetUnavailable, match="the token endpoint answered"):
        await external_system.update(sample("work_order.completed"), context())


@pytest.mark.parametrize(("in_body", "header"), [(False, "Basic Yzpz"), (True, None)])
async def test_the_clients_credentials_go_where_the_module_says(
    serve: Callable[[Starlette], str],
    configure: "Configure",
    context: Callable[..., Context],
    sample: Callable[..., Event],
    module: Callable[[str], str],
    *,
    in_body: bool,
    header: str | None,
) -> None:
    """In the header, where every OAuth2 server has to take them, or in the body, where some insist on them."""
    seen: list[tuple[str | None, str]] = []

    async def token(request: Request) -> Response:
        seen.append((request.headers.get("authorization"), (await request.body()).decode()))
        return Response("{}", 429, {"retry-after": "40"})

    auth = f'oauth2("/token", scope="a", in_body={in_body})'
    app = Starlette(routes=[Route("/token", token, methods=["POST"])])
    configure(url=serve(app), target=module(MODULE % auth), client_id="c", client_secret="s")
    with pytest.raises(RetryLater, match="the token endpoint answered 429") as later:
        await external_system.update(sample("work_order.completed"), context())
    assert later.value.seconds == 40
    form = "grant_type=client_credentials&scope=a"
    assert seen == [(header, form if header else f"{form}&client_id=c&client_secret=s")]


@pytest.mark.parametrize("secret", ["tök", "a\nb"])
def test_a_secret_that_no_header_holds_stops_the_start(configure: "Configure", secret: str) -> None:
    """Said once at start, without the secret, and not at every event."""
    with pytest.raises(
        SettingsError, match=r"^EXTERNAL_TOKEN: expected printable ASCII, as a header holds it"
    ) as wrong:
        configure(url="https://erp.example.com", token=secret)
    assert secret not in str(wrong.value)
