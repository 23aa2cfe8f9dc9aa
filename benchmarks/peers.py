"""Where the contenders live: environments that are made here, in `benchmarks/.peers`.

Each has its versions pinned in `benchmarks/pins` (gqlwire's own dependencies: `constraints.txt`),
and is made again when these change. If this machine lacks Node or other Pythons, they are left
out, and `notes` say so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / ".peers"
PINS = HERE / "pins"

DESCRIBE = """
import json, platform
from importlib import metadata
versions = {d.name.lower(): d.version for d in metadata.distributions()}
print(json.dumps(versions | {"python": platform.python_version()}))
"""
OF_INTEREST = ("python", "gqlwire", "picows", "msgspec", "aiofastnet", "uvloop")
OF_GQL = ("gql", "websockets", "aiohttp", "graphql-core")


class SetupFailed(Exception):
    """An environment could not be made; the text is the installer's output."""


@dataclass(frozen=True)
class Certificate:
    """Files of a server's certificate, its key, and the authority that signed it."""

    chain: Path
    key: Path
    authority: Path


@dataclass
class Peers:
    """The interpreters to run contenders with. `others`: further Pythons with gqlwire."""

    python: Path
    gql: Path
    tools: Path
    others: dict[str, Path] = field(default_factory=dict)
    node: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def node_folder(self) -> Path:
        """Where the programs for Node are, beside what they import."""
        return PEERS / "node"


def set_up() -> Peers:
    """Make the environments that are missing, and return all. Raises SetupFailed."""
    loop, gql = PINS / "loop.txt", PINS / "gql.txt"
    peers = Peers(
        python=environment("gqlwire", sys.executable, [loop], gqlwire=True),
        gql=environment("gql", sys.executable, [gql]),
        tools=tools(),
    )
    for executable in other_pythons():
        version = minor_version(executable)
        peers.others[version] = environment(f"gqlwire-{version}", executable, [], gqlwire=True)
    if not peers.others:
        peers.notes.append("No other Python is here: no rows for one.")
    set_up_node(peers)
    describe(peers)
    return peers


def tools() -> Path:
    """Return the Python that draws plots and makes certificates. Raises SetupFailed."""
    return environment("tools", sys.executable, [PINS / "tools.txt"])


def other_pythons() -> list[str]:
    """Return the interpreters that gqlwire supports besides this one."""
    listed = run([sys.executable, str(ROOT / "tools" / "pythons.py")])
    return listed.split()


def minor_version(executable: str) -> str:
    """Return, say, 3.12."""
    return run([executable, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()


def environment(
    name: str, executable: str, requirements: list[Path], *, gqlwire: bool = False
) -> Path:
    """Make an environment if it is not there as it should be; return its Python."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    executable = str(Path(executable).resolve())  # not that of another environment
    inputs = [path.read_bytes() for path in requirements]
    if gqlwire:
        inputs += [project_table(), (ROOT / "constraints.txt").read_bytes()]
    mark = fingerprint(executable, inputs)
    if stamped(folder, mark):
        return python
    say(f"setting up {name}")
    shutil.rmtree(folder, ignore_errors=True)
    run([executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for listed in requirements:
        run([*pip, "-r", str(listed)])
    if gqlwire:
        run([*pip, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[deflate]"])
    stamp(folder, mark)
    return python


def set_up_node(peers: Peers) -> None:
    """Install the packages of the JavaScript client, if there is Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        peers.notes.append("Node is not here: no rows for graphql-ws.")
        say(peers.notes[-1])
        return
    folder = peers.node_folder
    mark = fingerprint(node, [(PINS / "package.json").read_bytes()])
    if not stamped(folder, mark):
        say("setting up node")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(PINS / "package.json", folder)
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        run([npm, "install", *quiet], folder)
        stamp(folder, mark)
    # Node looks for packages beside the program that imports them.
    for program in (HERE / "contenders" / "node").glob("*.mjs"):
        shutil.copy(program, folder)
    peers.node = Path(node)


def describe(peers: Peers) -> None:
    """Note the versions of everything."""
    found = json.loads(run([str(peers.python), "-c", DESCRIBE]))
    peers.versions = {name: found[name] for name in OF_INTEREST}
    found = json.loads(run([str(peers.gql), "-c", DESCRIBE]))
    peers.versions |= {f"{name} (gql's)": found[name] for name in OF_GQL[1:]}
    peers.versions["gql"] = found["gql"]
    for python in peers.others.values():
        full = json.loads(run([str(python), "-c", DESCRIBE]))["python"]
        peers.versions[f"python {full.rpartition('.')[0]}"] = full
    if peers.node is not None:
        peers.versions["node"] = run([str(peers.node), "--version"]).strip().removeprefix("v")
        for name in ("graphql-ws", "ws"):
            manifest = peers.node_folder / "node_modules" / name / "package.json"
            peers.versions[name] = json.loads(manifest.read_text("utf-8"))["version"]


def certificate(peers: Peers) -> Certificate:
    """Return a certificate for 127.0.0.1, made for this machine if there is none."""
    folder = PEERS / "tls"
    found = Certificate(folder / "server.pem", folder / "server.key", folder / "client.pem")
    if not found.authority.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run([str(peers.tools), "-m", "trustme", "-q", "-d", str(folder), "-i", "127.0.0.1"])
    return found


def project_table() -> bytes:
    """Return the parts of `pyproject.toml` that matter for an installation."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return json.dumps([read["project"], read["build-system"]], sort_keys=True).encode()


def fingerprint(executable: str, inputs: list[bytes]) -> str:
    """Return a text that changes when an environment has to be made again."""
    return hashlib.sha256(b"\0".join([executable.encode(), *inputs])).hexdigest()


def stamped(folder: Path, mark: str) -> bool:
    """Tell whether an environment was made to the end, of the same inputs."""
    path = folder / ".ready"
    return path.exists() and path.read_text("utf-8") == mark


def stamp(folder: Path, mark: str) -> None:
    """Note that an environment is complete."""
    (folder / ".ready").write_text(mark, "utf-8")


def run(command: list[str], folder: Path = ROOT) -> str:
    """Run a command in silence, and return its output. Raises SetupFailed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """Print the progress."""
    print(text, file=sys.stderr, flush=True)
