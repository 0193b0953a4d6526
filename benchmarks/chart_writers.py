"""Writes one long series to the store of each tool, each in its own process and environment.

    python -m benchmarks.chart_writers NAME FOLDER POINTS       # prints one JSON line

Owns the series and how each tool is written: through its own client if that takes minutes at most, else with the same
rows or records that its client would write. Must not know servers or how the series is read back.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["KEY", "PROJECT", "RUN", "SPIKE", "Injected", "injected", "series"]

KEY, RUN, PROJECT = "loss", "long", "charts"
SPIKE = 1000.0
BEGAN_S = 1_760_000_000.0
STEP_S = 0.01

Injected = dict[str, int]
"""`spike`, `nan` and `inf`, each with its step."""


def injected(num_points: int) -> Injected:
    """Return the steps of the injected values that must not be lost."""
    return {"spike": num_points * 617 // 1000, "nan": num_points * 251 // 1000, "inf": num_points * 753 // 1000}


def series(num_points: int) -> list[float]:
    """Return the values of steps 0, 1, …: a slow wave with noise in single precision, and the injected values."""
    wave = 1.0 + 0.1 * np.sin(np.arange(num_points) * 1e-4)
    values = (wave + np.random.default_rng(1).normal(0.0, 0.01, num_points)).astype(np.float32).astype(np.float64)
    at = injected(num_points)
    values[at["spike"]], values[at["nan"]], values[at["inf"]] = SPIKE, np.nan, np.inf
    result: list[float] = values.tolist()
    return result


def write_recis(folder: Path, values: list[float]) -> dict[str, Any]:
    """Call `run.log`, to the server in `RECIS_MONITOR_URL`, until everything is acknowledged."""
    from recis import monitor

    run = monitor.init(run_id=RUN, project=PROJECT, spool_dir=str(folder / "spool"))
    began = time.perf_counter()
    for step, value in enumerate(values):
        run.log({KEY: value}, step)
    run.finish(timeout_s=120.0)
    return {"seconds": time.perf_counter() - began, "through": "its client"}


def write_tensorboard(folder: Path, values: list[float]) -> dict[str, Any]:
    """Use TensorBoard's record writer, with the records of `add_scalar`; `step_cost` measures `add_scalar` itself."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    (folder / RUN).mkdir()
    began = time.perf_counter()
    with (folder / RUN / f"events.out.tfevents.{BEGAN_S:.0f}.host.1.0").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=BEGAN_S, file_version="brain.Event:2").SerializeToString())
        for step, value in enumerate(values):
            summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=KEY, simple_value=value)])
            event = event_pb2.Event(wall_time=BEGAN_S + step * STEP_S, step=step, summary=summary)
            writer.write(event.SerializeToString())
    return {"seconds": time.perf_counter() - began, "through": "its records"}


def write_mlflow(folder: Path, values: list[float]) -> dict[str, Any]:
    """Write the rows of `log_metric` as its SQL store does; its client would take an hour."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(PROJECT)
    with mlflow.start_run() as run:
        # The rows below must equal those that its own client writes for these values.
        for step, value in enumerate((1.0, float("nan"), float("inf"))):
            mlflow.log_metric(KEY, value, step=step)
    with sqlite3.connect(f"{folder}/mlflow.db") as connection:
        found = connection.execute("SELECT value, is_nan FROM metrics ORDER BY step").fetchall()
        said = dict(zip(("1.0", "nan", "inf"), found, strict=True))
        connection.execute("DELETE FROM metrics")
        began = time.perf_counter()
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (KEY, value, int((BEGAN_S + step * STEP_S) * 1e3), run.info.run_id, step, is_nan)
                for step, (value, is_nan) in enumerate(said.get(str(value), (value, 0)) for value in values)
            ),
        )
        connection.execute("UPDATE latest_metrics SET value = ?, step = ?", (values[-1], len(values) - 1))
        connection.commit()
    return {"seconds": time.perf_counter() - began, "through": "its rows", "run": run.info.run_id}


def write_trackio(folder: Path, values: list[float]) -> dict[str, Any]:
    """Call `bulk_log` of its store, as its server does for data from its client."""
    os.environ["TRACKIO_DIR"] = str(folder)
    from trackio.sqlite_storage import SQLiteStorage

    began = time.perf_counter()
    for first, block in _blocks(values, 50_000):
        steps = list(range(first, first + len(block)))
        SQLiteStorage.bulk_log(
            project=PROJECT,
            run=RUN,
            metrics_list=[{KEY: value} for value in block],
            steps=steps,
            timestamps=[datetime.fromtimestamp(BEGAN_S + step * STEP_S, UTC).isoformat() for step in steps],
        )
    return {"seconds": time.perf_counter() - began, "through": "its store"}


def write_aim(folder: Path, values: list[float]) -> dict[str, Any]:
    """Call `run.track`; its files cannot be written otherwise."""
    os.environ["AIM_DISABLE_TELEMETRY"] = "1"
    from aim import Run

    run = Run(repo=str(folder), experiment=PROJECT, system_tracking_interval=None, capture_terminal_logs=False)
    began = time.perf_counter()
    for step, value in enumerate(values):
        run.track(value, name=KEY, step=step)
    run.close()
    return {"seconds": time.perf_counter() - began, "through": "its client", "run": run.hash}


def _blocks(values: list[float], size: int) -> Iterator[tuple[int, list[float]]]:
    for first in range(0, len(values), size):
        yield first, values[first : first + size]


WRITERS: dict[str, Callable[[Path, list[float]], dict[str, Any]]] = {
    "recis": write_recis,
    "tensorboard": write_tensorboard,
    "mlflow": write_mlflow,
    "trackio": write_trackio,
    "aim": write_aim,
}


def main() -> None:
    name, folder, num_points = sys.argv[1:]
    print("RESULT " + json.dumps(WRITERS[name](Path(folder), series(int(num_points)))))


if __name__ == "__main__":
    main()
