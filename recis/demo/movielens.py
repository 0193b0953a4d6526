"""Download of MovieLens-100k: 100,000 ratings of 1,682 films by 943 users, 1997 to 1998.

Owns the download, the hashes and the cache folder; must not know torch or what the files are read for.
The files are part of a wheel on the package index, so only pip is needed.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from recis.errors import RecisError

__all__ = ["DEFAULT_CACHE", "DataError", "fetch"]

DEFAULT_CACHE = Path.home() / ".cache" / "recis-monitor"

_PACKAGE = "recbole==1.2.1"
_FOLDER_IN_WHEEL = "recbole/dataset_example/ml-100k"
_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}


class DataError(RecisError, RuntimeError):
    """The ratings are unavailable: no network, no pip, or a hash mismatch."""


def fetch(cache: Path = DEFAULT_CACHE) -> Path:
    """Return the folder with `ml-100k.inter`, `.item` and `.user`, downloading them unless intact copies exist.

    Args:
        cache: folder kept between runs, created if missing.

    Raises:
        DataError: the files cannot be downloaded, or their hashes differ.
    """
    folder = cache / "ml-100k"
    if all(_intact(folder / name) for name in _SHA256):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        _unpack(_download(Path(scratch)), Path(scratch), folder)
    return folder


def _intact(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _SHA256[path.name]


def _download(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--dest", str(scratch), _PACKAGE], capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = errors[-1] if errors else f"pip ended with code {done.returncode}"
        raise DataError(f"MovieLens-100k: expected pip to download the wheel {_PACKAGE} that carries it, got: {reason}")
    return wheels[0]


def _unpack(wheel: Path, scratch: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in _SHA256:
            part = scratch / name
            part.write_bytes(archive.read(f"{_FOLDER_IN_WHEEL}/{name}"))
            if not _intact(part):
                raise DataError(f"MovieLens-100k: {name} in {wheel.name} has another SHA-256 than {_SHA256[name]}")
            part.replace(folder / name)  # atomic, even if two processes fetch at the same time


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m recis.demo.movielens", description="Download MovieLens-100k.")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder for the data (default: %(default)s)")
    try:
        sys.stdout.write(f"MovieLens-100k is in {fetch(parser.parse_args().cache)}\n")
    except (DataError, OSError) as error:
        sys.exit(str(error))
