"""Ids in URLs through a real nginx, which decodes a path, resolves its dot segments and encodes it anew."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from examples.handlers import external_system
from worker import Context, Event, GiveUp

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [pytest.mark.anyio, pytest.mark.skipif(NGINX is None, reason="needs nginx (apt-get install nginx-light)")]
CONFIG = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u;
  scgi_temp_path s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {target}/; }} }}
}}
"""


@pytest.fixture
def paths(serve: Callable[[Starlette], str], configure: "Configure", tmp_path: Path) -> Iterator[list[str]]:
    """The paths that arrive at the target behind nginx, as they are on the wire there."""
    arrived: list[str] = []

    async def take(request: Request) -> Response:
        arrived.append(request.scope["raw_path"].decode())
        return Response()

    target = serve(Starlette(routes=[Route("/{path:path}", take, methods=["PATCH"])]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(CONFIG.format(port=port, target=target))
    assert NGINX
    with subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]) as nginx:
        _until_it_listens(port)
        configure(url=f"http://127.0.0.1:{port}")
        yield arrived
        nginx.terminate()


def _until_it_listens(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError("nginx does not listen")


@pytest.mark.parametrize(
    "work_order",
    [
        *(
            "wo_1",
            "wo 1",
            "WO-2026.481",
            "São João",
            "a;b",
            "a:b",
            "a+b",
            "a'b",
            "a?b#c",
            "a&b=c",
            "100%",
            "a%20b",
            "%41",
        ),
        *("..a", "a..", "~a", "\U0001f600", "a/b", "a/../../secret", "../secret", "a%2F..%2F..%2Fsecret", "..", "."),
        *("a%252F..%252Fsecret", "a\\..\\secret", "..;", "..;/secret", "%2e%2e", "a\x00b", "a%00b", "a\nb"),
    ],
)
async def test_an_id_is_one_segment_or_a_dead_letter(
    paths: list[str], context: Callable[..., Context], sample: Callable[..., Event], work_order: str
) -> None:
    """What arrives behind nginx names this Work Order, however often the path is decoded, and nothing else."""
    try:
        await external_system.update(sample("work_order.completed", id=work_order), context())
    except GiveUp:
        assert paths == []
        return
    [arrived] = paths
    decoded = [arrived]
    while (once_more := unquote(decoded[-1])) != decoded[-1]:
        decoded.append(once_more)
    assert [(path.startswith("/api/work-orders/"), path.count("/")) for path in decoded] == [(True, 3)] * len(decoded)
    assert decoded[-1] == f"/api/work-orders/{unquote(work_order)}"
