"""`recis.wire.session`: what may be sent when, and what the server's records mean."""

import pytest

from recis.wire.messages import Ack, Command, Refuse, Welcome
from recis.wire.session import MOST_BREAKS, MOST_REJECTED, Acked, Arrived, ClientSession, Closed, Rejected, Welcomed


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


MALFORMED = Refuse(code="malformed", message="expected every key once")


def again(session: ClientSession, acked: int = 0) -> None:
    session.lost()
    session.connected()
    session.receive(Welcome(acked=acked))


def test_a_frame_that_is_refused_alone_is_to_blame(session: ClientSession) -> None:
    session.receive(Welcome(acked=4))
    session.sent(5, 10)
    assert session.receive(MALFORMED) == Rejected(5, "malformed", "expected every key once")
    assert not session.may_send


def test_of_several_frames_each_goes_alone_until_one_is_refused_or_all_are_through(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    for n in (1, 2, 3):
        session.sent(n, 10)
    assert session.receive(MALFORMED) == Closed("malformed", "expected every key once", retry=True)
    again(session)
    session.sent(1, 10)
    assert not session.may_send
    session.receive(Ack(n=1))
    assert session.may_send
    session.sent(2, 10)
    assert session.receive(MALFORMED) == Rejected(2, "malformed", "expected every key once")
    again(session, acked=1)
    session.sent(3, 10)  # 2 is left out
    assert not session.may_send
    session.receive(Ack(n=3))
    session.sent(4, 10)
    assert session.may_send, "what came later has no part in it"


@pytest.mark.parametrize(
    "refuse", [Refuse(code="unavailable", message="full", retry=True), Refuse(code="version", message="2")]
)
def test_what_is_not_about_a_frame_blames_none(session: ClientSession, refuse: Refuse) -> None:
    session.receive(Welcome(acked=0))
    session.sent(1, 10)
    assert session.receive(refuse) == Closed(refuse.code, refuse.message, refuse.retry)


def test_a_greeting_that_is_refused_blames_no_frame(session: ClientSession) -> None:
    assert session.receive(MALFORMED) == Closed("malformed", "expected every key once", retry=False)


def test_a_frame_at_which_connections_break_again_and_again_goes_alone_and_is_to_blame_in_the_end(
    session: ClientSession,
) -> None:
    session.receive(Welcome(acked=0))
    for turn in range(1, MOST_BREAKS + 1):
        sent = 0
        while session.may_send and sent < 3:
            sent += 1
            session.sent(sent, 10)
        assert sent == (3 if turn <= 3 else 1)
        blamed = session.broken()
        assert (blamed is not None) == (turn == MOST_BREAKS)
        assert session.is_stuck == (1 < turn < MOST_BREAKS)
        assert session.is_on_trial == (3 <= turn < MOST_BREAKS)
        again(session)
    assert isinstance(blamed, Rejected)
    assert blamed.n == 1


def test_connections_that_break_without_a_frame_on_its_way_clear_all(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    for turn in range(3 * MOST_BREAKS):
        if turn % (MOST_BREAKS - 1):
            session.sent(1, 10)
        assert session.broken() is None
        again(session)


def test_a_server_that_refuses_every_frame_is_left_alone(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    for n in range(1, MOST_REJECTED + 2):
        for _ in range(2):  # again with fewer records
            session.sent(n, 10)
            refusal = session.receive(MALFORMED)
            assert isinstance(refusal, Rejected) == (n <= MOST_REJECTED)
            again(session)
    assert isinstance(refusal, Closed)
    assert not refusal.retry


def test_breaks_with_progress_between_them_blame_nothing(session: ClientSession) -> None:
    session.receive(Welcome(acked=0))
    for n in range(1, 3 * MOST_BREAKS):
        session.sent(n, 10)
        if n % 2:
            assert session.broken() is None
            again(session, acked=n)
        else:
            session.receive(Ack(n=n))
    for _ in range(3 * MOST_BREAKS):
        assert session.broken() is None, "nothing was on its way"
        again(session, acked=session.acked)
        session.lost()
        assert session.broken() is None, "not greeted"
        session.receive(Welcome(acked=session.acked))
