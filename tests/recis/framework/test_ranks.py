import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recis.framework.ranks import Ranks


def test_one_process_decides_and_gathers_alone() -> None:
    model = torch.nn.Linear(1, 1)
    with Ranks(model) as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert ranks.all_of(True, False) == [True, False]
        assert ranks.gather("x") == ["x"]
        assert ranks.wrap() is model
        assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_two_ranks_with_uneven_data_train_evaluate_stop_and_restore_together(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parents[2])}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(here / "two_ranks.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for rank in ranks:
        assert rank["steps"] == rank["restored"] == 10  # 5 per epoch: the rank with less data decides
        assert rank["joined"] == [True, True] * 2
        assert rank["stopped"][0] == 12
        assert rank["left"]
    assert ranks[0]["weight"] == ranks[1]["weight"]
    assert ranks[0]["results"] == ranks[1]["results"]
    assert ranks[0]["results"]["size"] == 4.0
    assert max(ranks[0]["ids"]) < 100 <= min(ranks[1]["ids"])
    assert [rank["stopped"][1] for rank in ranks] == ["another rank was asked to stop", "rank 1 wants to"]
    assert [rank["between"] for rank in ranks] == [
        [2, "rank 0 has seen an epoch"],
        [2, "another rank was asked to stop"],
    ]
    checkpoints = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name[-2:] for path in checkpoints] == ["04", "08", "10"]
    assert sorted(path.name for path in checkpoints[0].iterdir()) == ["checkpoint.json", "rank0.pt", "rank1.pt"]
