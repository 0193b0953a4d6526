"""Names that are imported on first access."""

import subprocess
import sys

import pytest

import recis.metrics


@pytest.mark.slow
def test_a_name_is_found_once_asked_for_and_listed_before() -> None:
    script = (
        "import sys, recis.metrics, recis.hooks, recis.framework\n"
        "assert 'AUROC' in dir(recis.metrics) and 'torch' not in sys.modules\n"
        "from recis.metrics import AUROC\n"
        "assert 'torch' in sys.modules and vars(recis.metrics)['AUROC'] is AUROC\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'recis.metrics' has no attribute 'nothing'"):
        recis.metrics.nothing  # type: ignore[attr-defined]  # noqa: B018
