import logging

from recis_server.logs import MOST_KINDS, MOST_LINES, PERIOD_S, LineLimit


def test_lines_of_one_kind_are_limited_and_counted() -> None:
    now_s = 0.0
    limit = LineLimit(monotonic=lambda: now_s)

    def passed(text: str, *arguments: object, level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("x", level, "", 0, text, arguments, None)
        return record.getMessage() if limit.filter(record) else None

    assert [passed("refused %s", number) for number in range(MOST_LINES)] == [f"refused {n}" for n in range(MOST_LINES)]
    assert [passed("refused %s", number) for number in range(3)] == [None] * 3
    assert passed("something else") == "something else"
    assert passed("refused %s", 1, level=logging.ERROR) == "refused 1"
    now_s = PERIOD_S
    assert passed("refused %s", 7) == "refused 7 (before it 3 lines like this one were left out)"
    assert passed("refused %s", 8) == "refused 8"
    for number in range(2 * MOST_KINDS):
        assert passed(f"line {number}") == f"line {number}"
    assert len(limit._kinds) == MOST_KINDS
