import asyncio
import shutil
from pathlib import Path

import pytest

from examples.sender.http import wire
from tests.conftest import ROOT, unused_port
from tests.examples.sender.check.serving import PATH
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
PACKAGES = ROOT / ".senders/node_modules"


@pytest.mark.skipif(not (PACKAGES / "express").exists(), reason="Express is not here: .ci/packages installs it")
async def test_express_as_it_comes_refuses_large_events(run: Run, tmp_path: Path) -> None:
    """Its limit of 100 kB is found, with its own setting as the advice; otherwise it does well."""
    shutil.copy(Path(__file__).with_name("express.mjs"), tmp_path)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    port = unused_port()
    url = f"http://127.0.0.1:{port}{PATH}"
    express = await asyncio.create_subprocess_exec("node", str(tmp_path / "express.mjs"), str(port), PATH)
    try:
        for _ in range(200):
            if (await wire.post(url, b"{}", {"content-type": "application/json"}, 1)).status:
                break
            await asyncio.sleep(0.05)
        short = ["--idle", "0.3", "--slow-body", "0.1", "--rate-seconds", "0.2", "--max-rate", "100", "--json"]
        report = (await run("check", url, *short)).json()
    finally:
        express.kill()
        await express.wait()
    failed = {finding["check"]: finding for finding in report["findings"] if finding["status"] == "failed"}
    assert list(failed) == ["any-content-type", "large-body"]
    assert failed["large-body"]["seen"].startswith("128 KiB: 413")
    assert "express.json({limit})" in failed["large-body"]["mend"]
