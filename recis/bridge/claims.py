"""Number the trainings of one kind on this machine: the first, the second, and so on.

Owns small files in the system's folder for temporary files; must not know what they count. A batch system identifies an
allocation, in which any number of trainings may run. Only their order distinguishes them, and stays the same when the
allocation is run again after a preemption.
"""

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path

from recis.system import user_number

__all__ = ["claim", "claims_folder"]

MAX_CLAIMS = 10_000
KEPT_S = 30 * 86_400.0


def claim(scope: str, launch: str) -> int:
    """Return how many other launches claimed `scope` before this one; every call of one launch returns the same number.

    Raises:
        OSError: the files cannot be written, or there are too many.
    """
    folder = claims_folder()
    draft = folder / f".{os.getpid()}-{secrets.token_hex(4)}"
    draft.write_text(launch, encoding="utf-8")
    try:
        for number in range(MAX_CLAIMS):
            place = folder / f"{hashlib.sha256(scope.encode()).hexdigest()[:24]}-{number}"
            try:
                os.link(draft, place)  # appears with its content or not at all
            except FileExistsError:
                if place.read_text(encoding="utf-8") != launch:
                    continue
            return number
    finally:
        draft.unlink(missing_ok=True)
    raise OSError(f"expected at most {MAX_CLAIMS} trainings of a kind, got more")


def claims_folder() -> Path:
    """Return the user's own folder, after deleting files too old to matter.

    Raises:
        OSError: there is no such folder, or another user owns it.
    """
    folder = Path(tempfile.gettempdir()) / f"recis-monitor-{user_number()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user_number():
        raise PermissionError(f"expected {folder} to be a folder of this user")
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            if time.time() - path.stat().st_mtime > KEPT_S:
                path.unlink()
    return folder
