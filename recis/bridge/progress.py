"""The progress bar of the commands: on standard error, only on a terminal, and cleared when it is closed."""

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(title: str, unit: str, total: int = 0) -> "tqdm[None]":
    """Return a bar that counts `unit`; it writes nothing to a log file."""
    tqdm.monitor_interval = 0  # its thread would only redraw an unchanged bar
    # `disable=None` asks whether standard error is a terminal.
    return tqdm(desc=title, total=total, unit=f" {unit}", unit_scale=True, leave=False, disable=None)
