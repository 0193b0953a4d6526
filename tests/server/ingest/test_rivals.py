"""`recis_server.ingest.rivals`: distinguish two live writers of one rank from one that was restarted."""

from recis_server.ingest import rivals
from recis_server.ingest.rivals import Rivals
from recis_server.store.values import StoredFrame, StreamRow

from recis.wire.messages import Frame, FrameRecord, Hello, Line, Status
from tests.server.realserver import points

SECOND = 1_000_000_000
NOW = 1_000 * SECOND


def greet(known: Rivals, writer: str, *, began_s: int, now_s: int, clock_s: int = 0) -> None:
    """Greet at `now_s` as a writer that began at `began_s`, with a clock that is `clock_s` ahead."""
    started, sent = (NOW + (second + clock_s) * SECOND for second in (began_s, now_s))
    hello = Hello(run="r", writer=writer, attempt="a", host=f"host-{writer}", pid=7, time_ns=sent, started_ns=started)
    known.joined(writer, hello, NOW + now_s * SECOND)


def say(known: Rivals, writer: str, *records: FrameRecord) -> object:
    return known.notice(StoredFrame(StreamRow("r", writer, 0, 1, 0, 0), Frame(n=1, records=records), 0))


def at(second: int) -> Line:
    return Line(time_ns=NOW + second * SECOND, text="a line")


def test_two_that_report_are_told_of_once() -> None:
    known = Rivals()
    greet(known, "a", began_s=0, now_s=1)
    greet(known, "b", began_s=10, now_s=11)
    assert len(known) == 2
    assert say(known, "a", at(9), at(12)) is None  # within the tolerated difference of clocks
    assert say(known, "b", at(90)) is None  # reports of the newer one do not count for the older one
    assert say(known, "a", at(3), at(13)) == (["a", "b"], ["process 7 on host-a", "process 7 on host-b"])
    assert say(known, "a", at(14)) is None
    for writer in "ab":  # either one reconnects
        greet(known, writer, began_s=0 if writer == "a" else 10, now_s=20)
        known.left(writer)
    assert say(known, "a", at(30)) is None
    greet(known, "c", began_s=40, now_s=41)
    assert say(known, "b", at(50)) == (["b", "c"], ["process 7 on host-b", "process 7 on host-c"])


def test_points_say_when_they_were_reported() -> None:
    known = Rivals()
    greet(known, "a", began_s=-1000, now_s=-1000)  # the times of `points` are their steps, in seconds
    greet(known, "b", began_s=-500, now_s=-500)
    assert say(known, "a", points([400, 3], loss=[1.0, 2.0])) is None
    assert say(known, "a", Status(state="running", time_ns=1), points([3, 503, 4], loss=[1.0, 2.0, 3.0])) is not None


def test_what_a_killed_process_left_is_no_conflict_however_late_it_is_sent() -> None:
    known = Rivals()
    greet(known, "new", began_s=100, now_s=101)
    greet(known, "old", began_s=0, now_s=500)
    assert say(known, "old", at(99)) is None
    assert say(known, "new", at(600)) is None


def test_one_that_has_gone_is_no_conflict() -> None:
    known = Rivals()
    greet(known, "a", began_s=0, now_s=1)
    greet(known, "a", began_s=0, now_s=2)
    known.left("a")
    assert len(known) == 1
    greet(known, "b", began_s=10, now_s=11)
    known.left("b")
    assert say(known, "a", at(90)) is None
    known.left("never greeted")
    assert say(known, "never greeted", at(90)) is None


def test_clocks_of_two_machines_need_not_agree() -> None:
    for ahead_s in (-300, 300):
        known = Rivals()
        greet(known, "a", began_s=0, now_s=1, clock_s=ahead_s)
        greet(known, "b", began_s=10, now_s=11)
        assert say(known, "a", at(9 + ahead_s)) is None
        assert say(known, "a", at(13 + ahead_s)) is not None


def test_there_is_a_most_that_is_told() -> None:
    known = Rivals()
    greet(known, "a", began_s=0, now_s=1)
    told = 0
    for number in range(rivals.MOST_TOLD + 50):
        greet(known, f"b{number}", began_s=10 + number, now_s=11 + number)
        told += say(known, "a", at(1000)) is not None
    assert told == rivals.MOST_TOLD
