"""A training that keeps a journal of its reports: `python honest.py URL FOLDER`, until there is a file `stop`.

Owns the training and its journal, `journal.jsonl`: one JSON object per line, whose only member names its kind.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import torch

import recis.monitor

__all__ = ["KEYS", "RUN"]

RUN = "honest"
KEYS = ("loss", "gradient/norm")
STEP_S = 0.02
"""A pause after each step: the steps of a training take a while, and others need the machine too."""
EVENT_STEPS, TRACE_STEP = 50, 20


def note(journal: TextIO, what: str, said: Any) -> None:
    """Write one complete line to the journal."""
    journal.write(json.dumps({what: said}) + "\n")
    journal.flush()


def train(run: recis.monitor.Run, folder: Path, journal: TextIO) -> None:
    """Fit a line, and report every step."""
    generator = torch.Generator().manual_seed(1)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    step = 0
    while not (folder / "stop").exists():
        step += 1
        inputs = torch.randn(8, 4, generator=generator)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        before_s = time.time()
        run.log(dict(zip(KEYS, (loss, norm), strict=True)), step)
        note(journal, "point", [step, [loss.item(), norm.item()], [before_s, time.time()]])
        if step % EVENT_STEPS == 0:
            run.alert(f"step {step}", level="info", step=step)
            note(journal, "event", [step, f"step {step}"])
        if step == TRACE_STEP:
            trace = folder / "trace.json"
            trace.write_text(json.dumps({"traceEvents": [{"ph": "X", "name": "op", "ts": 1, "dur": 2, "tid": 1}]}))
            run.upload_trace(trace, step)
            note(journal, "trace", [step, hashlib.sha256(trace.read_bytes()).hexdigest()])
        time.sleep(STEP_S)


def main(url: str, folder: Path) -> None:
    """Open the run, train, and record how it ended."""
    run = recis.monitor.init(url, run_id=RUN, spool_dir=folder / "spool", config={"lr": 1e-3}, tags=["honest"])
    run.control("pace", type="float", value=STEP_S, minimum=0.0, on_change=lambda _: None)
    with (folder / "journal.jsonl").open("w") as journal:
        train(run, folder, journal)
        is_sent = run.finish(timeout_s=60.0)
        note(journal, "end", {"is_sent": is_sent, "lost": [run.dropped, run.refused, run.failures]})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
