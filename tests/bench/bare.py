"""The limit: what Starlette under uvicorn does when all that it has to do is read a body and answer 200.

`python -m tests.bench.bare`, with PORT. The same server, event loop, parser and settings as `python -m receiver`.
"""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def receive(request: Request) -> Response:
    await request.body()
    return Response()


def serve(app: Starlette) -> None:
    """Run an application as `receiver.__main__.serve` runs the kit's."""
    config = uvicorn.Config(
        app,
        port=int(os.environ["PORT"]),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        loop="uvloop",
        http="httptools",
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    serve(Starlette(routes=[Route("/webhooks/glartek/{token}", receive, methods=["POST"])]))
