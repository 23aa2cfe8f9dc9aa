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
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except OSError as wrong:
        raise UsageError(f"--ca {options.ca}: {_why(wrong)}") from None
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


def _why(wrong: OSError) -> str:
    if isinstance(wrong, ssl.SSLError):
        if wrong.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"not a PEM file of this kind ({wrong.reason or wrong})"
    return wrong.strerror or str(wrong)
