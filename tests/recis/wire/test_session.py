"""`recis.wire.session`: what may be sent when, and what the server's records mean."""

import pytest

from recis.wire.messages import Ack, Command, Refuse, Welcome
from recis.wire.session import Acked, Arrived, ClientSession, Closed, Welcomed


@pytest.fixture
def session() -> ClientSession:
    session = ClientSession()
    session.connected()
    return session


def test_nothing_is_sent_before_the_welcome(session: ClientSession) -> None:
    assert not session.may_send
    with pytest.raises(ValueError, match="greeted"):
        session.sent(1, 10)
    assert session.receive(Welcome(acked=4, attempt=2)) == Welcomed(4, 2)
    assert session.may_send
    assert session.newest_sent == 4


def test_numbers_rise(session: ClientSession) -> None:
    session.receive(Welcome(acked=4))
    session.sent(5, 10)
    with pytest.raises(ValueError, match="above 5, got 5"):
        session.sent(5, 10)


def test_the_window_closes_and_opens_with_acknowledgements(session: ClientSession) -> None:
    session.receive(Welcome(acked=0, window_bytes=100))
    session.sent(1, 90)
    assert session.may_send
    session.sent(2, 20)
    assert not session.may_send
    assert session.receive(Ack(n=1)) == Acked(1)
    assert session.may_send


def test_a_frame_larger_than_the_window_still_goes_alone(session: ClientSession) -> None:
    session.receive(Welcome(acked=0, window_bytes=10))
    assert session.may_send
    session.sent(1, 1000)
    assert not session.may_send


def test_an_acknowledgement_covers_all_lower_numbers_and_is_news_once(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    for n in (1, 2, 3):
        session.sent(n, 1)
    assert session.receive(Ack(n=3)) == Acked(3)
    assert session.receive(Ack(n=2)) is None
    assert session.acked == 3


def test_after_a_cut_everything_unacknowledged_goes_again(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    session.sent(1, 1)
    session.sent(2, 1)
    session.receive(Ack(n=1))
    session.lost()
    assert not session.may_send
    assert session.newest_sent == 1
    session.connected()
    session.receive(Welcome(acked=2))
    assert session.newest_sent == 2


def test_a_server_that_lost_its_store_gets_what_is_left(session: ClientSession) -> None:
    session.receive(Welcome(acked=9))
    session.lost()
    session.connected()
    assert session.receive(Welcome(acked=0)) == Welcomed(0, 1)
    assert session.newest_sent == 0


def test_commands_and_refusals_are_passed_on(session: ClientSession) -> None:
    command = Command(id="c", control="filter_interval", value=3)
    session.receive(Welcome(acked=0))
    assert session.receive(command) == Arrived(command)
    assert session.receive(Refuse(code="unavailable", message="disk full", retry=True)) == Closed(
        "unavailable", "disk full", True
    )
    assert not session.may_send
