"""Detection of RecIS in the same environment, since both distributions own the package `recis`.

Owns the search, done once per process, and its warning. It lists one or two folders, checks for a file per entry of
`sys.path`, and never raises. Called at every entry point of this distribution, as the package's `__init__.py` may be
RecIS's.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from recis.wire.version import __version__

__all__ = ["check_installation", "find_recis"]

_PACKAGE = "recis"
_ONLY_IN_RECIS = frozenset({"__info__.py", "features", "info.py", "io", "lib", "monitor", "serialize"})
"""Names in RecIS's package folder that this package does not have."""
_RECORDS = (".dist-info", ".egg-info", ".egg-link")
_ADVICE = (
    "Both own the package recis: files that both have are those of whichever was installed last, and removing one "
    "removes them for the other. Keep one of them in an environment. To monitor RecIS: pip uninstall recis-monitor; "
    "pip install --force-reinstall --no-deps recis; pip install recis-monitor-bridge, and import recis_monitor. "
    "To use recis-monitor: pip uninstall recis; pip install --force-reinstall --no-deps recis-monitor"
)
_is_checked = False


def check_installation() -> None:
    """Log one warning if RecIS is installed in the same environment. Only the first call does anything."""
    global _is_checked  # noqa: PLW0603 - once per process
    if _is_checked or __package__ != _PACKAGE:  # recis-monitor-bridge has its own package
        return
    _is_checked = True
    try:
        package = sys.modules[_PACKAGE]
        found = [str(place) for place in find_recis(Path(__file__).resolve().parent, sys.path)]
        version = getattr(package, "__version__", None)
        if version != __version__:
            found.append(f"{package.__file__} (version {version})")
        if found:
            import logging

            logging.getLogger(__name__).warning(
                "RecIS was found in the environment of recis-monitor %s: %s. %s", __version__, ", ".join(found), _ADVICE
            )
    except Exception:  # noqa: BLE001, S110 - boundary: an unusual path must not prevent importing the package
        pass


def find_recis(folder: Path, path: Iterable[str]) -> list[Path]:
    """Return traces of RecIS: records of its distribution, files in this package's folder, other packages.

    Args:
        folder: this package's folder.
        path: import path, as `sys.path`.
    """
    places = dict.fromkeys([str(folder.parent), *path])
    return list(dict.fromkeys(each for place in places for each in _find_in(place, folder)))


def _find_in(entry: str, folder: Path) -> list[Path]:
    """Return what `find_recis` finds through one entry of the path; empty if it cannot be read."""
    found = []
    try:
        place = Path(entry).resolve()
        # Other folders, such as a script's, may be large. Plain names, as creating a thousand paths takes milliseconds.
        if place == folder.parent or place.name in ("site-packages", "dist-packages"):
            found += [place / name for name in os.listdir(place) if _is_record(name)]  # noqa: PTH208
        package = place / _PACKAGE
        if package == folder:
            found += [folder / name for name in os.listdir(folder) if name in _ONLY_IN_RECIS]  # noqa: PTH208
        elif (package / "__init__.py").is_file() and not (package / "wire" / "version.py").is_file():
            found.append(package)
    except (OSError, TypeError, ValueError):
        pass
    return sorted(found)


def _is_record(name: str) -> bool:
    """Return whether the name records an installed distribution `recis`: `recis-1.2.0.dist-info`, `recis.egg-link`."""
    if name[: len(_PACKAGE)].lower() != _PACKAGE or not name.endswith(_RECORDS):
        return False
    stem = name[len(_PACKAGE) :]
    return stem[0] == "." or (stem[0] == "-" and stem[1].isdigit())
