"""Starts nginx and haproxy, with a configuration of the test's; knows no protocol.

Both are packages of the system. Without them, the tests that need them are skipped; with `CI=true`
they fail.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

# Debian's are not on every user's path.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

_NGINX = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
  fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  {servers}
}}
"""

_HAPROXY = """
global
  maxconn 64
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
{sections}
"""


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def nginx(servers: str, port: int, directory: Path) -> AsyncIterator[None]:
    """nginx with these `server` blocks, which listen on `port`."""
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, servers=servers))
    command = [_found("nginx"), "-p", str(directory), "-c", str(config)]
    async with _running([*command, "-e", str(directory / "error.log")], port):
        yield


@asynccontextmanager
async def haproxy(sections: str, port: int, directory: Path) -> AsyncIterator[None]:
    """haproxy with these sections, which listen on `port`."""
    config = directory / "haproxy.cfg"
    config.write_text(_HAPROXY.format(sections=sections))
    async with _running([_found("haproxy"), "-db", "-q", "-f", str(config)], port):
        yield


def _found(name: str) -> str:
    path = shutil.which(name, path=_PATH)
    if path is None:
        why = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return path


@asynccontextmanager
async def _running(command: list[str], port: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        await _listening(process, port)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _listening(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            if process.returncode is not None:
                _, said = await process.communicate()
                raise RuntimeError(f"it ended: {said.decode()}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return
