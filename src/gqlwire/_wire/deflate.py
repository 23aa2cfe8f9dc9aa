"""permessage-deflate (RFC 7692) for a client: the offer, the server's answer, whole messages.

The `websockets` package (the extra `gqlwire[deflate]`) does the negotiation and the compression. It
is imported when it is first needed. This module does no I/O: bytes go in, bytes come out.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.extensions.permessage_deflate import (
        ClientPerMessageDeflateFactory,
        PerMessageDeflate,
    )

# How many characters are read of what the server chose. Four parameters have some 120.
_LONGEST_CHOICE = 1000
_ABSENT = "compression=\"deflate\" needs the websockets package: pip install 'gqlwire[deflate]'"
# zlib does not support it. websockets before 17 would raise only at the first message.
_WINDOW_OF_8 = (
    "the server asks for client_max_window_bits=8, which zlib does not support: the minimum is 9"
)


def offer() -> str:
    """Return the value of the request header `Sec-WebSocket-Extensions`.

    It offers context takeover in both directions; the server may choose the window sizes.
    Raises `ModuleNotFoundError` when the `websockets` package is not installed.
    """
    factory = _factory()
    from websockets.headers import build_extension

    return build_extension([(factory.name, list(factory.get_request_params()))])


def accept(header: str | None) -> Deflate | None:
    """Read the response header `Sec-WebSocket-Extensions`; None means the server declined.

    Raises `ValueError` if the server chose something that `offer` does not offer, which fails the
    handshake (RFC 6455, section 4.1). Raises `ModuleNotFoundError` like `offer`.
    """
    if header is None or not header.strip():
        return None
    if len(header) > _LONGEST_CHOICE:
        # websockets reads it with regular expressions that take memory for each character.
        raise ValueError(f"its Sec-WebSocket-Extensions header has {len(header)} characters")
    factory = _factory()
    from websockets.exceptions import InvalidHandshake
    from websockets.headers import parse_extension

    accepted: list[PerMessageDeflate] = []
    try:
        for name, parameters in parse_extension(header):
            if name != factory.name:
                raise ValueError(f"the server chose an extension that was not offered: {name}")
            if ("client_max_window_bits", "8") in parameters:
                raise ValueError(_WINDOW_OF_8)
            accepted.append(factory.process_response_params(parameters, accepted))
    except InvalidHandshake as error:
        raise ValueError(
            f"the server's Sec-WebSocket-Extensions header {header!r} is not acceptable: {error}"
        ) from error
    return Deflate(accepted[0])


class Deflate:
    """The compression that client and server agreed on for one connection.

    With context takeover every message depends on the messages before it. So all compressed
    messages must pass through here, in order. After an error the connection must be closed.
    """

    def __init__(self, extension: PerMessageDeflate) -> None:
        from websockets.exceptions import PayloadTooBig, ProtocolError
        from websockets.frames import Frame, Opcode

        self._extension = extension
        self._frame = Frame
        # The extension checks only whether a frame has data, so TEXT also works for binary frames.
        self._opcode = Opcode.TEXT
        self._too_big = PayloadTooBig
        self._corrupt = ProtocolError

    def __repr__(self) -> str:
        return f"<Deflate {self._extension!r}>"

    def inflate(self, payload: bytes, max_size: int) -> bytes:
        """Decompress one whole message that arrived with RSV1 set.

        `payload` is the message with its fragments joined. `max_size` limits the result, in bytes;
        no more than that is inflated. Raises `OverflowError` if the message is longer, and
        `ValueError` if it is not a deflate stream.
        """
        frame = self._frame(self._opcode, payload, rsv1=True)
        try:
            # One byte more than is allowed: with a message of exactly `max_size` bytes, zlib needs
            # room to read the end of the stream. Also, zlib treats 0 as "no limit".
            plain = self._extension.decode(frame, max_size=max_size + 1).data
        except self._too_big:
            raise _too_long(max_size) from None
        except self._corrupt as error:
            raise ValueError("the server sent a corrupt compressed message") from error
        if len(plain) > max_size:
            raise _too_long(max_size)
        self._restart_after_final_block()
        return bytes(plain)

    def deflate(self, payload: bytes) -> bytes:
        """Compress one whole message, which must be sent with RSV1 set."""
        return bytes(self._extension.encode(self._frame(self._opcode, payload)).data)

    def _restart_after_final_block(self) -> None:
        # RFC 7692, section 7.2.3.4: a sender may end a message with a final block, and start a new
        # stream with the next message. zlib returns nothing more after a final block.
        extension = self._extension
        if not extension.remote_no_context_takeover and extension.decoder.eof:
            extension.decoder = zlib.decompressobj(wbits=-extension.remote_max_window_bits)


def _too_long(max_size: int) -> OverflowError:
    return OverflowError(f"the compressed message inflates to more than {max_size} bytes")


def _factory() -> ClientPerMessageDeflateFactory:
    try:
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    except ModuleNotFoundError as absent:
        raise ModuleNotFoundError(_ABSENT, name=absent.name) from absent
    # memLevel 5 takes less memory than the default 8, and is no worse for short messages.
    return ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5})
