"""`RunConfig` and `RunSummary`: a run's configuration and single values, as mappings whose names are attributes too.

Own the settings made in this process. Must not know how they are reported.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from recis.bridge.config import plain_config

__all__ = ["RunConfig", "RunSummary"]


class _Named(MutableMapping[str, Any]):
    """A dict whose items are also attributes; items that are set are reported."""

    def __init__(self, report: Callable[[dict[str, Any]], None]) -> None:
        vars(self)["_values"] = {}
        vars(self)["_report"] = report

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._report({name: value})

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        values = vars(self).get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}; set so far: {', '.join(map(str, values)) or 'nothing'}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._values)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy as a dict."""
        return dict(self._values)

    def update(self, other: Any = None, /, allow_val_change: object = None, **more: Any) -> None:
        """Set several at once.

        Args:
            other: a mapping, or another object with settings, as `init` takes them.
            allow_val_change: not needed; values may always change.
            **more: further names.
        """
        changed = {**_items(other), **more}
        if changed:
            self._values.update(changed)
            self._report(changed)


class RunConfig(_Named):
    """The configuration of a run as this process gave it; what is set later is added to the run's on the server."""

    def start(self, config: Any) -> None:
        """Take over the settings that the run was opened with, which are already reported."""
        self._values.update(_items(config))

    def setdefaults(self, other: Any) -> None:
        """Set those names of `other` that are not set yet."""
        self.update({name: value for name, value in _items(other).items() if name not in self})


class RunSummary(_Named):
    """Single values of a run, such as its best accuracy: each is a metric of that name at the current step."""


def _items(config: Any) -> dict[str, Any]:
    with suppress(Exception):  # boundary: a user's mapping may raise anything; it is shown as far as it can be read
        if isinstance(config, Mapping):
            return dict(config)
    return plain_config(config)[0]
