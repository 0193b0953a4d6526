import json
import subprocess
from pathlib import Path

from recis_server.query.headline import metric_of

MODULE = Path(__file__).parents[3] / "web" / "js" / "data" / "headline.js"
RUNS = [
    ["loss", "qps", "auc"],
    ["eval/loss", "train/loss", "train/qps"],
    ["train/ctr/loss", "train/cvr/loss", "validation_loss"],
    ["Loss", "QPS"],
    ["ctr_loss_ema", "bce.loss", "steps_per_second"],
    ["table/loss/rows", "system/loss", "monitor/qps", "time/loss"],
    ["gloss", "model/throughput", "it_per_s", "examples_per_sec"],
    ["lo\u017fs", "loss\n", "train/a\nb/loss", "x/loss\u00e9"],
    ["\U0001f600_loss", "\u00e9\u00e9_loss"],
    ["floss", "aloss"],
    [],
]


def test_server_and_page_choose_the_same_metrics() -> None:
    script = (
        f"import {{ metricOf }} from {json.dumps(MODULE.as_uri())};"
        "const runs = JSON.parse(process.argv[1]);"
        "const of = (keys) => ['loss', 'rate'].map((role) => metricOf(keys, role) ?? null);"
        "console.log(JSON.stringify(runs.map(of)));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, json.dumps(RUNS)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[metric_of(keys, "loss"), metric_of(keys, "rate")] for keys in RUNS]
    assert [metric_of(keys, "loss") for keys in RUNS[:3]] == ["loss", "train/loss", "train/ctr/loss"]
