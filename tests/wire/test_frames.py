"""Frames as RFC 6455 allows and forbids them, from a server that sends any bytes."""

import asyncio
import gc
import struct
from typing import Any

import pytest
from frames import Act, cut, expect_pong, fragments, running, wire

from gqlwire._wire.picows_wire import PicowsWire
from gqlwire.errors import MessageTooBig, Phase, TransportProtocolError
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import RawPeer, raw_fake
from servers.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from support import BOUND, QUERY, connected, failure, leaves_nothing, message, tick

tidy = pytest.fixture(autouse=True)(leaves_nothing)


# --- What is allowed -----------------------------------------------------------------------------


async def test_frames_in_one_segment_are_taken_one_by_one() -> None:
    """Events, a ping, a pong, the end and the close frame may come in one piece."""

    async def act(peer: RawPeer, id: str) -> None:
        events = [wire(TEXT, tick(id, n)) for n in range(3)]
        ends = [wire(TEXT, message("complete", id)), wire(CLOSE, struct.pack("!H", 1001))]
        await peer.send_raw(b"".join([*events, wire(PING, b"?"), wire(PONG, b"!"), *ends]))
        await expect_pong(peer, b"?")

    async with running(act) as it:
        assert [0, 1, 2] == await it.rest()
        assert (1001, "") == await it.left()
        assert it.transport.pong_received.is_set()
        assert not it.transport.ping_received.is_set()  # that is for the protocol's pings


async def test_frames_that_come_with_the_upgrade_are_taken() -> None:
    """What is in one segment with the response's headers, behind them, is read."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        ack = message("connection_ack", payload={"n": 1})
        await peer.upgrade(trailing=wire(TEXT, ack) + wire(PING, b"early"))
        await peer.expect("connection_init")
        await expect_pong(peer, b"early")

    async with raw_fake(script, upgrade=False) as server, connected(server) as transport:
        assert Phase.OPEN is transport.phase
        assert {"n": 1} == transport.payloads["connection_ack"]


@pytest.mark.parametrize("controls", [False, True], ids=["bare", "with controls between"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_fragments_are_joined(size: int, controls: bool) -> None:
    """Wherever they are cut, amid a UTF-8 character too; control frames may come between."""
    text = "ä€🙂" * 20
    between = wire(PING, b"?") + wire(PONG) if controls else b""

    async def act(peer: RawPeer, id: str) -> None:
        frames = fragments(cut(tick(id, text), size))
        await peer.send_raw(between.join(frames))
        for _ in range((len(frames) - 1) * controls):
            await expect_pong(peer, b"?")
        await peer.send_raw(b"".join(fragments([b"", message("complete", id).encode(), b""])))

    async with running(act) as it:
        assert [text] == await it.rest()


async def test_empty_fragments_take_no_room() -> None:
    """However many a server sends, there is nothing to keep of them."""

    async def act(peer: RawPeer, id: str) -> None:
        text = tick(id, "x").encode()
        start, end = wire(TEXT, b"", fin=False), wire(CONTINUATION, text)
        await peer.send_raw(start + wire(CONTINUATION, b"", fin=False) * 10_000)
        await peer.send_raw(wire(PING, b"so far"))
        await expect_pong(peer, b"so far")
        gc.collect()  # the wires of other tests
        # By type: a weak proxy, which picows holds, passes for an instance.
        kept = [each for each in gc.get_objects() if type(each) is PicowsWire]
        assert [bytearray()] == [each._fragments for each in kept if each._fragments is not None]
        await peer.send_raw(end + wire(TEXT, message("complete", id)))

    async with running(act) as it:
        assert ["x"] == await it.rest()


@pytest.mark.parametrize("fill", [0, 200, 70_000], ids=["7 bits", "16 bits", "64 bits"])
async def test_a_frame_may_come_byte_by_byte(fill: int) -> None:
    """Its header and its end, each byte in a segment of its own, for each length of the length."""

    async def act(peer: RawPeer, id: str) -> None:
        frame = wire(TEXT, message("next", id, {"data": {"ticks": "🙂" + "x" * fill + "🙂"}}))
        for part in [*cut(frame[:30], 1), frame[30:-30], *cut(frame[-30:], 1)]:
            await peer.send_raw(part)
            await asyncio.sleep(0)  # the client, on the same loop, takes what has come
        await peer.send_text(message("complete", id))

    async with running(act) as it:
        assert ["🙂" + "x" * fill + "🙂"] == await it.rest()


async def test_buffered_messages_keep_their_content() -> None:
    """Frames are borrowed from a buffer that is used again; a thousand unread events survive."""
    expected = [f"{n}:" + chr(97 + n % 26) * ((n * 7919) % 3001) for n in range(1000)]
    seen = asyncio.Event()

    async def act(peer: RawPeer, id: str) -> None:
        for text in expected:
            await peer.send_text(tick(id, text))
        await peer.send_frame(PING, b"all")
        await expect_pong(peer, b"all")
        await peer.send_text(message("complete", id))
        seen.set()

    async with running(act) as it:
        first = await anext(it.events)
        async with asyncio.timeout(BOUND):
            await seen.wait()
        assert it.events.buffered == len(expected) - 1
        assert expected == [first.data["ticks"], *await it.rest()]


@pytest.mark.parametrize("payload", [b"", b"?", bytes(range(125))], ids=len)
async def test_a_ping_frame_is_answered_with_its_payload(payload: bytes) -> None:
    """Before the acknowledgement as after it, and several in a row each by its own pong."""

    async def ask(peer: RawPeer) -> None:
        await peer.send_raw(wire(PING, payload) * 3)
        for _ in range(3):
            await expect_pong(peer, payload)

    async def script(peer: RawPeer) -> None:
        await peer.expect("connection_init")
        await ask(peer)
        await peer.send({"type": "connection_ack"})
        await ask(peer)

    async with raw_fake(script) as server, connected(server) as transport:
        assert Phase.OPEN is transport.phase


# --- What is forbidden ---------------------------------------------------------------------------


async def fails_with(code: int, act: Act, **options: Any) -> tuple[str, Any]:
    """Have `act` done to a subscription, a query and a waiter: all end, with the same error.

    The host, and the error.
    """
    kind = MessageTooBig if code == 1009 else TransportProtocolError
    async with running(act, **options) as it:
        async with asyncio.TaskGroup() as group:
            query = group.create_task(failure(kind, it.transport.execute(QUERY)))
            event = group.create_task(failure(kind, anext(it.events)))
            group.create_task(asyncio.wait_for(it.transport.wait_closed(), BOUND))
        assert code == (await it.left())[0]
        late = await failure(kind, it.transport.execute(QUERY))
        assert {str(late)} == {str(query.result()), str(event.result())}
        assert Phase.CLOSED is it.transport.phase
        await failure(StopAsyncIteration, anext(it.events))
        return it.host, late


BROKEN: dict[str, tuple[bytes, str]] = {
    "masked": (b"\x81\x82\x01\x02\x03\x04\x7a\x7f", "masked frame"),
    "rsv1": (b"\xc1\x02{}", "reserved bits"),
    "rsv2": (b"\xa1\x02{}", "reserved bits"),
    "rsv3": (b"\x91\x02{}", "reserved bits"),
    "rsv1 on a ping": (b"\xc9\x00", "reserved bits"),
    "rsv1 on a continuation": (b"\x01\x01{\xc0\x01}", "reserved bits"),
    "opcode 3": (b"\x83\x00", "opcode=0x3"),
    "opcode 11": (b"\x8b\x00", "opcode=0xb"),
    "a fragmented ping": (b"\x09\x01?", "fragmented control frame"),
    "a fragmented close": (b"\x08\x02\x03\xe8", "fragmented control frame"),
    "a long ping": (b"\x89\x7e\x00\x7e" + b"?" * 126, "payload size > 125"),
    "a continuation of nothing": (b"\x80\x02{}", "fragment out of order"),
    "an unfinished continuation of nothing": (b"\x00\x01{", "fragment out of order"),
    "a message inside a fragmented one": (b"\x01\x01{\x81\x02{}", "fragment out of order"),
    "another one begun inside": (b"\x01\x01{\x01\x01{", "fragment out of order"),
    "16 bits for a short length": (b"\x81\x7e\x00\x02{}", "16-bit payload len"),
    "64 bits for a short length": (b"\x81\x7f" + bytes(7) + b"\x02{}", "64-bit payload len"),
    "a negative length": (b"\x81\x7f\xff" + bytes(7), "64-bit payload len"),
    "a close of one byte": (b"\x88\x01\x03", "close code size"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN)
async def test_a_frame_against_the_rules_ends_the_connection(data: bytes, words: str) -> None:
    """With 1002, and an error that says which rule; everything that waits gets it."""
    host, told = await fails_with(1002, lambda peer, _: peer.send_raw(data))

    assert str(told).startswith(f"{host} broke RFC 6455: ")
    assert words in str(told)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
async def test_a_close_code_that_must_not_be_sent_is_refused(code: int) -> None:
    """Section 7.4: some are undefined, some are for use by an endpoint alone."""
    frame = wire(CLOSE)[:1] + b"\x02" + struct.pack("!H", code)
    host, told = await fails_with(1002, lambda peer, _: peer.send_raw(frame))

    assert str(told).startswith(f"{host} broke RFC 6455: ")
    assert str(code) in str(told).removeprefix(host)


NOT_UTF8 = {
    "a lone byte": [b"\xff"],
    "cut short": [b"{\xe2\x82"],
    "overlong": [b"\xc0\xaf"],
    "a surrogate": [b"\xed\xa0\x80"],
    "beyond Unicode": [b"\xf4\x90\x80\x80"],
    "in fragments": [b"{", b"\xe2\x82", b"}"],
    "cut short in fragments": [b"{", b"\xe2\x82"],
}


@pytest.mark.parametrize("parts", NOT_UTF8.values(), ids=NOT_UTF8)
async def test_text_has_to_be_utf8(parts: list[bytes]) -> None:
    """Else we close with 1007."""
    frames = b"".join(fragments(parts))
    host, told = await fails_with(1007, lambda peer, _: peer.send_raw(frames))

    assert str(told).startswith(f"{host} sent text that is not UTF-8: ")


async def test_a_close_reason_has_to_be_utf8() -> None:
    """A close frame is text, too, behind its code."""
    host, told = await fails_with(1007, lambda peer, _: peer.send_raw(b"\x88\x03\x03\xe8\xff"))

    assert f"{host} broke RFC 6455: Received CLOSE with invalid UTF-8 reason" == str(told)


@pytest.mark.parametrize("parts", [[b"{}\x00"], [b"{}\x00", b"\x00"]], ids=["whole", "fragments"])
async def test_binary_messages_mean_nothing_in_either_protocol(parts: list[bytes]) -> None:
    """We close with 1003, and show how the message began."""
    frames = b"".join(fragments(parts, BINARY))
    host, told = await fails_with(1003, lambda peer, _: peer.send_raw(frames))

    assert f"{host} sent a binary message: '{{}}\\x00'" == str(told)


# --- Size ----------------------------------------------------------------------------------------

LIMIT = 1000
CUTS = pytest.mark.parametrize("size", [2 * LIMIT, 400, 1], ids=["whole", "in 3", "in many"])


def sized(id: str, size: int) -> str:
    """An event that is a message of so many bytes."""
    return tick(id, "x" * (size - len(tick(id, ""))))


@CUTS
async def test_a_message_of_exactly_the_limit_passes(size: int) -> None:
    """Each for itself: what came before does not count."""

    async def act(peer: RawPeer, id: str) -> None:
        await peer.send_raw(b"".join(fragments(cut(sized(id, LIMIT), size))) * 3)
        await peer.send_text(message("complete", id))

    async with running(act, max_message_size=LIMIT) as it:
        texts = await it.rest()
        assert [LIMIT] * 3 == [len(tick(it.events.id or "", text)) for text in texts]


@CUTS
async def test_a_longer_message_is_too_big(size: int) -> None:
    """We close with 1009; the error names the limit and the option. Nothing more is delivered."""

    async def act(peer: RawPeer, id: str) -> None:
        await peer.send_raw(b"".join(fragments(cut(sized(id, LIMIT + 1), size))))
        await peer.send_text(tick(id, "more"))

    host, told = await fails_with(1009, act, max_message_size=LIMIT)
    how = "in one frame" if size > LIMIT else "in fragments"

    assert (1009, LIMIT, host, Phase.OPEN) == (told.code, told.limit, told.host, told.phase)
    assert (
        f"{host} sent a message that is too big, {how}: "
        f"the limit is {LIMIT} bytes (max_message_size of the transport)"
    ) == str(told)


async def test_a_header_that_announces_too_much_is_refused_immediately() -> None:
    """Nobody waits for the exbibytes that it promises."""
    await fails_with(1009, lambda peer, _: peer.send_raw(b"\x81\x7f\x10" + bytes(7)))


async def test_an_acknowledgement_may_be_too_big() -> None:
    """The limit is for all messages; the error says how far the connection had come."""

    async def script(peer: RawPeer) -> None:
        await peer.ack(payload="x" * LIMIT)

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, max_message_size=LIMIT)
        told = await failure(MessageTooBig, transport.connect())

    assert (1009, LIMIT, Phase.INIT) == (told.code, told.limit, told.phase)
    assert f"127.0.0.1:{server.port}" == told.host
