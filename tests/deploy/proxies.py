"""nginx, Caddy and HAProxy from Debian, on loopback, with the configurations of `deploy/` but for ports and paths."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, unused_port, wait_until
from tests.receiver.conftest import PATH, Answer, Sender, request

DEPLOY = ROOT / "deploy"
PROXIES = ("nginx", "caddy", "haproxy")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for localhost that signs itself: its file, its key's, and both in one."""

    file: Path
    key: Path
    both: Path

    @classmethod
    def made(cls, folder: Path) -> "Certificate":
        certificate = cls(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += [*names, "-keyout", str(certificate.key), "-out", str(certificate.file)]
        subprocess.run(command, check=True, capture_output=True)
        certificate.both.write_bytes(certificate.file.read_bytes() + certificate.key.read_bytes())
        return certificate


class TlsSender(Sender):
    """A sender that speaks TLS."""

    def __init__(self, port: int, certificate: Certificate) -> None:
        super().__init__(port)
        context = ssl.create_default_context(cafile=certificate.file)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that is running in front of a receiver. Only Caddy has a port without TLS."""

    name: str
    folder: Path
    certificate: Certificate
    port: int
    clear_port: int | None = None

    def connect(self, scheme: str = "https") -> Sender:
        if scheme == "https":
            return TlsSender(self.port, self.certificate)
        return Sender(self._clear())

    def host(self, scheme: str = "https") -> str:
        return f"localhost:{self.port}" if scheme == "https" else f"127.0.0.1:{self._clear()}"

    def url(self, scheme: str) -> str:
        """The Endpoint URL."""
        return f"{scheme}://{self.host(scheme)}{PATH}"

    def _clear(self) -> int:
        assert self.clear_port is not None
        return self.clear_port

    def post(self, body: bytes, scheme: str = "https", **options: str) -> Answer:
        with self.connect(scheme) as sender:
            sender.send(request(body, **{"host": self.host(scheme)} | options))
            return sender.answer()

    def logs(self) -> dict[str, str]:
        """Every log file, its own output included."""
        return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in self.folder.glob("*.log")}


@contextmanager
def nobody() -> Iterator[int]:
    """A port on which nobody listens, and that nobody else is given."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        yield port


def shipped(path: str, changes: Mapping[str, str]) -> str:
    """A file of `deploy/` with its ports and paths replaced, each of which it has to have."""
    text = (DEPLOY / path).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{path}: no {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def proxy(
    name: str, folder: Path, certificate: Certificate, upstream: int, changes: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """A proxy in front of 127.0.0.1:`upstream`, for as long as the block runs."""
    folder.mkdir(parents=True)
    clear_port = unused_port() if name == "caddy" else None
    running = Proxy(name, folder, certificate, unused_port(), clear_port)
    command, environment = {"nginx": _nginx, "caddy": _caddy, "haproxy": _haproxy}[name](
        running, upstream, changes or {}
    )
    ports = [running.port, *([clear_port] if clear_port else [])]
    with (folder / "output.log").open("wb") as output:
        environment = {**os.environ, **environment}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            wait_until(lambda: process.poll() is not None or all(map(_listens, ports)))
            assert process.poll() is None, running.logs()
            yield running
        finally:
            process.terminate()
            process.wait(15)


def required(*programs: str) -> None:
    """Skip the test unless all of these are installed."""
    packages = {
        "nginx": "nginx-light",
        "java": "default-jdk-headless",
        "javac": "default-jdk-headless",
        "promtool": "prometheus",
    }
    for name in programs:
        if program(name) is None:
            pytest.skip(f"{name} is not installed: apt-get install {packages.get(name, name)}")


def program(name: str) -> str | None:
    """Debian keeps servers in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


Started = tuple[list[str], dict[str, str]]


def _nginx(running: Proxy, upstream: int, changes: Mapping[str, str]) -> Started:
    paths = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{running.port} ssl http2;",
        "    listen [::]:443 ssl http2;\n": "",
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        "/etc/letsencrypt/live/hooks.example.com/fullchain.pem": str(running.certificate.file),
        "/etc/letsencrypt/live/hooks.example.com/privkey.pem": str(running.certificate.key),
        "/var/log/nginx/glartek.log": str(running.folder / "access.log"),
    }
    (running.folder / "glartek.conf").write_text(shipped("nginx/glartek.conf", {**paths, **changes}))
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    around = [  # what Debian's nginx.conf says, with more on the log than it asks for
        *("daemon off;", f"pid {running.folder}/nginx.pid;", f"error_log {running.folder}/main-error.log info;"),
        *(["user root;"] if os.getuid() == 0 else []),  # whose temporary folders nobody else may enter
        *("worker_processes 2;", "events { worker_connections 1024; }", "http {"),
        *(f"{name}_temp_path {running.folder}/{name};" for name in folders),
        f"access_log {running.folder}/others.log; error_log {running.folder}/http-error.log info;",
        f"include {running.folder}/glartek.conf; }}",
    ]
    (running.folder / "nginx.conf").write_text("\n".join(around))
    return [str(program("nginx")), "-c", str(running.folder / "nginx.conf")], {}


def _caddy(running: Proxy, upstream: int, changes: Mapping[str, str]) -> Started:
    block = "http://{} {{\n\timport webhooks\n}}"
    commented = "\n".join(f"# {line}" for line in block.format(":8080").split("\n"))
    clear = {commented: block.format(f"127.0.0.1:{running.clear_port}")}
    (running.folder / "Caddyfile").write_text(shipped("caddy/Caddyfile", {**clear, **changes}))
    environment = {
        "SITE": f"localhost:{running.port}",
        "TLS": f"tls {running.certificate.file} {running.certificate.key}",
        "RECEIVERS": f"127.0.0.1:{upstream}",
        "HTTP_PORT": str(running.clear_port),
        "HTTPS_PORT": str(running.port),
        "CADDY_ADMIN": "off",
        "HOME": str(running.folder),
        "XDG_DATA_HOME": str(running.folder),
        "XDG_CONFIG_HOME": str(running.folder),
    }
    return [str(program("caddy")), "run", "--config", "Caddyfile", "--adapter", "caddyfile"], environment


def _haproxy(running: Proxy, upstream: int, changes: Mapping[str, str]) -> Started:
    paths = {
        "    user haproxy\n    group haproxy\n": "",
        "log /dev/log local0": "log stdout format raw local0",
        "bind :443": f"bind 127.0.0.1:{running.port}",
        "/etc/haproxy/certs/hooks.example.com.pem": str(running.certificate.both),
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }
    (running.folder / "haproxy.cfg").write_text(shipped("haproxy/haproxy.cfg", {**paths, **changes}))
    return [str(program("haproxy")), "-db", "-f", "haproxy.cfg"], {}
