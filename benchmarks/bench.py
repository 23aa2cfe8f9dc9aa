"""What a scenario needs to measure: programs to run, and a server to run them against."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.peers import Certificate, Peers

ROOT = Path(__file__).resolve().parent.parent
RUN_SECONDS = 180.0
REPORT_SECONDS = 30.0


class ContenderFailed(Exception):
    """A contender or the server failed; the text is its output."""


@dataclass(frozen=True)
class Settings:
    """How much is measured: `scale` is the share of the events and operations of a whole run."""

    rounds: int = 5
    scale: float = 1.0

    def count(self, whole: int, *, least: int = 50) -> int:
        """Return how many of `whole` are to be done."""
        return max(min(least, whole), round(whole * self.scale))

    @property
    def is_whole(self) -> bool:
        """Whether the slowest cases are measured, too."""
        return self.scale >= 1

    def seconds(self, whole: float) -> float:
        """Return for how long something is to be watched."""
        return max(0.1, whole * min(1.0, self.scale))


class Blaster:
    """The server, in a process of its own."""

    def __init__(self, python: Path, certificate: Certificate | None = None) -> None:
        options: list[str | Path] = []
        if certificate is not None:
            options = ["--certificate", certificate.chain, "--key", certificate.key]
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.blaster", *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        scheme = "ws" if certificate is None else "wss"
        self.base = f"{scheme}://127.0.0.1:{self.report()['port']}"
        self.url = f"{self.base}/graphql"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def report(self, seconds: float = REPORT_SECONDS) -> dict[str, float]:
        """Return its next line. Raises ContenderFailed if there is none within the time."""
        said = self.heard(seconds)
        if said is None:
            raise ContenderFailed(f"the server said nothing for {seconds:g} seconds")
        return said

    def heard(self, seconds: float) -> dict[str, float] | None:
        """Return its next line, or None if that takes longer."""
        try:
            said: dict[str, float] = json.loads(self._lines.get(timeout=seconds))
        except queue.Empty:
            return None
        return said

    def forget(self) -> None:
        """Drop its output so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._lines.get_nowait()

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class Bench:
    """Runs contenders and keeps servers; `with` ends them."""

    settings: Settings
    peers: Peers
    certificate: Certificate | None = None
    _blasters: dict[bool, Blaster] = field(default_factory=dict)

    def blaster(self, *, tls: bool = False) -> Blaster:
        """Return the server, with TLS or without; it runs from now on."""
        if tls and self.certificate is None:
            raise ContenderFailed("there is no certificate for a server with TLS")
        if tls not in self._blasters:
            chosen = self.certificate if tls else None
            self._blasters[tls] = Blaster(self.peers.python, chosen)
        return self._blasters[tls]

    def run(self, *command: str | Path) -> dict[str, Any]:
        """Run a contender and return its result. Raises ContenderFailed."""
        try:
            done = subprocess.run(
                [str(word) for word in command],
                cwd=ROOT,
                env=self.environment(),
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ContenderFailed(f"not done after {RUN_SECONDS:g} seconds") from None
        return told(done.stdout, done.stderr, done.returncode)

    def environment(self) -> dict[str, str]:
        """Return the environment of a contender, in which it trusts our certificate."""
        environment = plain_environment()
        environment["NO_PROXY"] = environment["no_proxy"] = "*"
        if self.certificate is not None:
            authority = str(self.certificate.authority)
            environment |= {"SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority}
        return environment

    def stop(self) -> None:
        """End the servers."""
        while self._blasters:
            self._blasters.popitem()[1].stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def plain_environment() -> dict[str, str]:
    """Return our environment without the variables that make Python do extra work."""
    unset = {"PYTHONPATH", "PYTHONDEVMODE", "PYTHONWARNINGS", "COVERAGE_PROCESS_START"}
    # gqlwire is installed from its sources: where no bytecode may be written, it would be compiled
    # at each start, and what is installed from a registry would not. Nor is printing measured.
    unset |= {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    return {name: text for name, text in os.environ.items() if name not in unset}


def told(stdout: str, stderr: str, status: int) -> dict[str, Any]:
    """Return the figures that a contender printed. Raises ContenderFailed if it did not."""
    if status or not stdout.strip():
        last = stderr.strip().splitlines()[-4:]
        raise ContenderFailed(f"ended with status {status}: {' / '.join(last)[-600:]}")
    figures: dict[str, Any] = json.loads(stdout.strip().splitlines()[-1])
    return figures
