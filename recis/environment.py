"""The one place where the library reads environment variables; everybody else receives values.

Knows the names that launchers and users set; must not know what the values are used for.
"""

import os

__all__ = [
    "app_id",
    "job_id",
    "launcher_key",
    "local_rank",
    "monitor_setting",
    "monitor_url",
    "rank",
    "restart_count",
    "world_size",
]


def monitor_setting(name: str) -> str | None:
    """`RECIS_MONITOR_{name}`, or None when unset or empty."""
    return os.environ.get(f"RECIS_MONITOR_{name}") or None


def monitor_url() -> str | None:
    """The server's address from `RECIS_MONITOR_URL`."""
    return monitor_setting("URL")


def rank() -> int:
    """This process's rank in the job, 0 without a launcher."""
    return _number("RANK", 0)


def local_rank() -> int:
    """This process's rank on its machine, 0 without a launcher."""
    return _number("LOCAL_RANK", 0)


def world_size() -> int:
    """How many processes the job has, 1 without a launcher."""
    return max(1, _number("WORLD_SIZE", 1))


def app_id() -> str:
    """The name that profiler files start with: `APP_ID`, or `local`."""
    return os.environ.get("APP_ID") or "local"


def job_id() -> str | None:
    """An identifier that all ranks of the job share, as the launcher set it.

    torchrun without `--rdzv-id` says `none`, which every job shares: that is no identity.
    """
    elastic = os.environ.get("TORCHELASTIC_RUN_ID")
    if elastic and elastic != "none":
        return elastic
    slurm = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{slurm}" if slurm else None


def restart_count() -> int:
    """How often the elastic launcher has restarted the workers."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def launcher_key() -> str:
    """What ranks that one launcher process started on one machine have in common: rendezvous address and parent."""
    return "-".join(
        (os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", ""), str(os.getppid()), str(restart_count()))
    )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
