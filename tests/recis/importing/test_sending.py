"""`recis.importing.sending`: every kind of refusal is reported as such."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from websockets.sync.server import ServerConnection, serve

from recis.bridge.address import ServerAddress
from recis.importing.sending import SendingError, send_frames
from recis.wire.codec import decode_client, encode
from recis.wire.messages import Frame, Hello, Line, Refuse, Welcome

HELLO = Hello(run="r", writer="w", attempt="a")


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[ServerAddress]:
    """The address of a server that refuses the greeting, or the first frame."""
    refused: type = request.param

    def answer(socket: ServerConnection) -> None:
        for data in socket:
            assert isinstance(data, bytes)
            if isinstance(decode_client(data), refused):
                socket.send(encode(Refuse(code="malformed", message="expected less")))
                socket.close(4400)
            else:
                socket.send(encode(Welcome(acked=0)))

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ServerAddress.parse(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("address", [Hello, Frame], indirect=True, ids=["greeting", "frame"])
def test_a_refusal_says_why(address: ServerAddress) -> None:
    frames = [Frame(n=1, records=(Line(time_ns=1, text="x"),))]
    with pytest.raises(SendingError, match=r"the server refuses r \(malformed\): expected less"):
        asyncio.run(send_frames(address, HELLO, lambda _: iter(frames)))
