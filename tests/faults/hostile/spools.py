"""Spools of offline runs, damaged and given to `recis-monitor sync`."""

import subprocess
from pathlib import Path

import recis.monitor
from tests.e2e.processes import COMMAND
from tests.faults.hostile.attack import Attack

__all__ = ["Spools", "offline_value"]

STEPS, AT_ONCE = 200, 5
"""Of a run, and runs that are sent by one command."""
CODES = (0, 1, 3)
"""What the command may exit with."""


def offline_value(number: int, step: int, key: int) -> float:
    """Return a value of the spooled run of this number: a different one at each position."""
    return number * 1e6 + step * 10 + key


class Spools(Attack):
    """Spools of offline runs, damaged and given to `recis-monitor sync`."""

    kind = "spools"

    def turn(self) -> None:
        """Some spools in one folder."""
        root = self.folder / f"spool-{self.turns}"
        for place in range(AT_ONCE):
            self.spool(root, AT_ONCE * self.turns + place)
            for _ in range(self.chance.choice([1, 1, 2, 4])):
                self.damage(max(root.iterdir(), key=lambda path: path.stat().st_mtime_ns))
        command = [COMMAND, "sync", str(root), "--url", self.url, "--timeout", "30"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=240)
        is_right = done.returncode in CODES and "Traceback" not in done.stderr
        self.expect(
            is_right, f"sync {done.returncode}" if is_right else f"sync {done.returncode}, {done.stderr[-2000:]}"
        )

    def spool(self, root: Path, number: int) -> None:
        """Create the spool of an offline run."""
        run = recis.monitor.init(mode="offline", run_id=f"spooled-{number}", spool_dir=root, tags=["spooled"])
        for step in range(STEPS):
            run.log({f"k{key}": offline_value(number, step, key) for key in range(1 + step % 3)}, step)
            if step % 20 == 0:
                run.alert(f"step {step}", step=step)
        run.finish()

    def damage(self, root: Path) -> None:
        """Damage one of the files of a spool, whole or in part."""
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        path = self.chance.choice(files)
        data = path.read_bytes()
        if data and self.chance.random() < 0.7:
            used = data[: self.chance.choice([4096, 16_384, len(data)])]
            path.write_bytes(self.damaged(used) + data[len(used) :])
            return
        other = self.chance.choice(files)
        place = path.with_name(f"{self.chance.randrange(10**9):020d}.seg")
        match self.chance.randrange(7):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(b"")
            case 2:
                path.unlink()
                path.mkdir()
            case 3:
                path.unlink()
                path.symlink_to(self.chance.choice([other, path, Path("/dev/zero"), root / "nothing"]))
            case 4:
                place.write_bytes(data)
            case 5:
                path.write_bytes(other.read_bytes())
            case 6:
                path.chmod(0)
