"""Metrics: validation of values, the registry of a training, asynchronous reads of device scalars, AUC, GAUC."""

from typing import TYPE_CHECKING

from recis.lazy import lazy_names

if TYPE_CHECKING:
    from recis.metrics.auroc import AUROC
    from recis.metrics.gauc import GAUC, Gauc

__all__ = ["AUROC", "GAUC", "Gauc"]

# The registry must import where torch is not installed.
__getattr__, __dir__ = lazy_names(
    __name__, {"AUROC": f"{__name__}.auroc", "GAUC": f"{__name__}.gauc", "Gauc": f"{__name__}.gauc"}
)
