"""Certificates made for one test, as PEM files, and the ssl contexts that use them.

Every certificate but those of the other authority is signed by one authority of the test.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class KeyPair:
    """PEM files of one certificate (with its chain) and of its private key."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """What a TLS test needs. `ca` and `other_ca` are PEM files of authorities."""

    ca: Path
    other_ca: Path
    server: KeyPair
    """For localhost, 127.0.0.1 and ::1."""
    expired: KeyPair
    """For the same names, its time over since yesterday."""
    wrong_host: KeyPair
    """For elsewhere.example only."""
    client: KeyPair
    """For client@example.org."""
    other_client: KeyPair
    """Signed by the other authority."""


def make_certificates(directory: Path) -> Certificates:
    """Write all of them below `directory` (a test's tmp_path)."""
    authority, other = trustme.CA(), trustme.CA()
    now, local = datetime.now(UTC), ("localhost", "127.0.0.1", "::1")
    expired = authority.issue_cert(
        *local, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )
    return Certificates(
        ca=_write_authority(authority, directory / "ca.pem"),
        other_ca=_write_authority(other, directory / "other-ca.pem"),
        server=_write_pair(authority.issue_cert(*local), directory, "server"),
        expired=_write_pair(expired, directory, "expired"),
        wrong_host=_write_pair(authority.issue_cert("elsewhere.example"), directory, "wrong-host"),
        client=_write_pair(authority.issue_cert("client@example.org"), directory, "client"),
        other_client=_write_pair(other.issue_cert("client@example.org"), directory, "other-client"),
    )


def server_context(pair: KeyPair, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """For an in-process server; with `client_ca` it requires a certificate from the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(pair.cert, pair.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: Path, pair: KeyPair | None = None) -> ssl.SSLContext:
    """For a client that trusts `ca` alone, and shows `pair` when it is asked for a certificate."""
    context = ssl.create_default_context(cafile=ca)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def _write_authority(authority: trustme.CA, path: Path) -> Path:
    authority.cert_pem.write_to_path(path)
    return path


def _write_pair(leaf: trustme.LeafCert, directory: Path, name: str) -> KeyPair:
    pair = KeyPair(directory / f"{name}.pem", directory / f"{name}-key.pem")
    pair.cert.unlink(missing_ok=True)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(pair.cert, append=True)
    leaf.private_key_pem.write_to_path(pair.key)
    return pair
