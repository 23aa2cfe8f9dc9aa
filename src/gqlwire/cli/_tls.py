"""The TLS options of the command, as an `ssl.SSLContext`."""

from __future__ import annotations

import ssl

from gqlwire.cli._arguments import TLS
from gqlwire.cli._exit import UsageError


def make_context(options: TLS) -> ssl.SSLContext | None:
    """Return a context for the options; None if none is given.

    Raises UsageError for a file that cannot be read or used.
    """
    if not (options.ca or options.cert or options.insecure):
        return None
    context = _trusting("--ca", options.ca)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert:
        try:
            context.load_cert_chain(options.cert, options.key)
        except OSError as wrong:
            names = f"--cert {options.cert}" + (f" --key {options.key}" if options.key else "")
            raise UsageError(f"{names}: {_why(wrong)}") from None
    return context


def make_proxy_context(options: TLS) -> ssl.SSLContext | None:
    """Return a context for an https:// proxy; None if no option is given. Raises like the other."""
    return None if options.proxy_ca is None else _trusting("--proxy-ca", options.proxy_ca)


def _trusting(option: str, file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as wrong:
        raise UsageError(f"{option} {file}: {_why(wrong)}") from None


def _why(wrong: OSError) -> str:
    if isinstance(wrong, ssl.SSLError):
        if wrong.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"not a PEM file of this kind ({wrong.reason or wrong})"
    return wrong.strerror or str(wrong)
