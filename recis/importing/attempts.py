"""Decide which event files of a folder belong to one attempt of its run, and which begin a new one.

Owns the rule; must not know how files are read or sent. A new attempt supersedes the points of older ones from its
first step on. Therefore a file begins a new attempt only if it was created after the last event of another file and has
steps up to that file's last step. Writers that are active at the same time, and a file that continues where another one
ended, share an attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Attempts", "Extent"]


@dataclass(frozen=True, slots=True)
class Extent:
    """The times and steps of a file, as far as it has been written.

    Attributes:
        began_ns: time of its first event, in Unix nanoseconds.
        last_ns: time of its last scalar.
        steps: lowest and highest step of each tag.
        purges_from: the step from which its writer asked to discard older events (`purge_step`), None if it did not.
    """

    began_ns: int
    last_ns: int
    steps: Mapping[str, tuple[int, int]]
    purges_from: int | None = None

    def shares_with(self, other: "Extent") -> bool:
        """Return whether both have a tag."""
        return not self.steps.keys().isdisjoint(other.steps)

    def is_beside(self, other: "Extent") -> bool:
        """Return whether this file was created while the other was still being written, and does not purge it."""
        return self.purges_from is None and self.began_ns < other.last_ns

    def goes_back_behind(self, other: "Extent") -> bool:
        """Return whether it has, or purges, a step that the other had reached for the same tag."""
        return any(
            (low if self.purges_from is None else min(low, self.purges_from)) <= other.steps[tag][1]
            for tag, (low, _) in self.steps.items()
            if tag in other.steps
        )


class Attempts:
    """The attempts of one run. Call `choose`, then `settle`, for each file in the order in which they were created.

    An attempt is identified by the writer that began it. A server keeps a writer in the attempt of its first greeting.
    Therefore a decision of an earlier import is kept for a file that has grown since, and `settle` makes later files
    follow it.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._ordinals: dict[int, int] = {}
        self._files: list[tuple[Extent, int]] = []

    def choose(self, writer: str, extent: Extent) -> str:
        """Return the identifier of the attempt that a file belongs to."""
        related = [(other, place) for other, place in self._files if extent.shares_with(other)]
        place = newest = max((place for _, place in related), default=0)
        rivals = [other for other, where in related if where == newest]
        # In doubt, old points stay visible: those of a writer that is still running must not be hidden.
        if not any(extent.is_beside(other) for other in rivals) and any(map(extent.goes_back_behind, rivals)):
            place = newest + 1
        if place == len(self._names):
            self._names.append(writer)
        self._files.append((extent, place))
        return self._names[place]

    def settle(self, writer: str, ordinal: int) -> None:
        """Note in which attempt, by its number, the server has the file of the last `choose`."""
        extent, place = self._files.pop()
        if ordinal in self._ordinals:
            place = self._ordinals[ordinal]
        elif place in self._ordinals.values():  # it was a separate attempt when it was first imported
            place = len(self._names)
            self._names.append(writer)
        self._ordinals[ordinal] = place
        self._files.append((extent, place))
