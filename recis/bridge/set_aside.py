"""Count, report and keep data of a spool that cannot be sent.

Owns the folder `set-aside` in a writer's folder, with damaged files and an account of the losses in `lost.json`. Must
not know how damage is found. Bound: `KEPT_BYTES` of files; the oldest are deleted, and remain in the account.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

from recis.wire.messages import MAX_TEXT_CHARS, Event
from recis.wire.text import as_name

__all__ = ["FOLDER", "SetAside"]

FOLDER = "set-aside"
KEPT_BYTES = 64 << 20
MOST_ENTRIES = 1000
_logger = logging.getLogger(__name__)


class _Loss(NamedTuple):
    values: int
    records: int
    why: str


class SetAside:
    """The losses of one writer, by file and frame, so that a loss that is found again counts once.

    Args:
        folder: the writer's folder; with None the account is kept in memory, and no files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._place = folder / FOLDER if folder is not None else None
        self._losses: dict[tuple[str, int], _Loss] = self._load()  # bounded in `note`
        self._news: list[tuple[str, int]] = []  # a subset of the losses, emptied by `news`

    def __len__(self) -> int:
        """Return the number of losses, those of earlier processes included."""
        return len(self._losses)

    @property
    def values(self) -> int:
        """Number of values lost."""
        return sum(loss.values for loss in self._losses.values())

    @property
    def records(self) -> int:
        """Number of other records lost."""
        return sum(loss.records for loss in self._losses.values())

    def __str__(self) -> str:
        """Return a readable summary."""
        return f"lost {_amount(self.values, self.records)}; see {as_name(str(self._place))}"

    def note(self, name: str, frame: int, values: int, records: int, why: str) -> None:
        """Account for a loss, replacing the entry for the same file and frame.

        Args:
            name: the file, or another source of the loss.
            frame: the frame's number; 0 for the file as a whole.
            values: number of values lost, as far as known.
            records: number of other records lost.
            why: the reason, as readable text.
        """
        loss = _Loss(values, records, why)
        if self._losses.get((name, frame)) == loss:
            return
        if (name, frame) not in self._losses:
            self._news.append((name, frame))
        self._losses[name, frame] = loss
        if len(self._losses) > MOST_ENTRIES:
            self._merge_oldest()
        self._store()
        _logger.warning("%s", _told(name, frame, loss))

    def news(self) -> Event | None:
        """Return an event for the run's page about the losses since the last call, or None."""
        news = [(key, self._losses[key]) for key in self._news if key in self._losses]
        self._news.clear()
        if not news:
            return None
        text = _told(*news[0][0], news[0][1])
        if len(news) > 1:
            values, records = sum(loss.values for _, loss in news), sum(loss.records for _, loss in news)
            text = f"lost in {len(news)} places: {_amount(values, records)}; first, {text}"
        return Event(kind="not_sent", level="error", time_ns=time.time_ns(), text=as_name(text, MAX_TEXT_CHARS))

    def keep(self, path: Path) -> None:
        """Move a file that is no longer needed to the folder."""
        if self._place is None:
            return
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            target = self._place / path.name
            path.rename(target if not target.exists() else target.with_name(f"{path.name}.{time.time_ns()}"))
            self._make_room()
        except OSError as error:
            _logger.warning("cannot keep %s for inspection: %s", path, error)

    # --- inside

    def _make_room(self) -> None:
        assert self._place is not None
        files = [path for path in self._place.glob("*.seg*") if path.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime_ns)
        left = sum(path.stat().st_size for path in files)
        for path in files:
            if left <= KEPT_BYTES:
                return
            left -= path.stat().st_size
            path.unlink()
            _logger.warning("deleted %s: more than %d MiB of damaged files", path, KEPT_BYTES >> 20)

    def _merge_oldest(self) -> None:
        values = records = 0
        while len(self._losses) >= MOST_ENTRIES:
            loss = self._losses.pop(next(iter(self._losses)))
            values, records = values + loss.values, records + loss.records
        self._losses = {("earlier", 0): _Loss(values, records, "sum of older entries"), **self._losses}

    def _load(self) -> dict[tuple[str, int], _Loss]:
        if self._place is None:
            return {}
        try:
            rows = json.loads((self._place / "lost.json").read_bytes())
            return {
                (str(row["file"]), int(row["frame"])): _Loss(int(row["values"]), int(row["records"]), str(row["why"]))
                for row in rows
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            _logger.warning("cannot read the account of earlier losses in %s: %s", self._place, error)
            return {}

    def _store(self) -> None:
        if self._place is None:
            return
        rows = [{"file": name, "frame": frame, **loss._asdict()} for (name, frame), loss in self._losses.items()]
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            partial = self._place / f"lost.{os.getpid()}.tmp"
            partial.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            partial.replace(self._place / "lost.json")
        except OSError as error:
            _logger.warning("cannot store the account of losses; it is kept in memory only: %s", error)


def _told(name: str, frame: int, loss: _Loss) -> str:
    what = f"frame {frame} in {name}" if frame else name
    return as_name(f"{what}: lost {_amount(loss.values, loss.records)} ({loss.why})", MAX_TEXT_CHARS)


def _amount(values: int, records: int) -> str:
    plural = "" if records == 1 else "s"
    return f"{values} value{'' if values == 1 else 's'} and {records} other record{plural}"
