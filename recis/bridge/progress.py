"""The progress bar of the commands: on standard error, on a terminal only, and gone when it is closed."""

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(title: str, unit: str, total: int = 0) -> "tqdm[None]":
    """A bar that counts `unit`; a log file gets the outcome and nothing of it."""
    tqdm.monitor_interval = 0  # its thread would only redraw a bar that stands still
    # `disable=None` asks whether standard error is a terminal.
    return tqdm(desc=title, total=total, unit=f" {unit}", unit_scale=True, leave=False, disable=None)
