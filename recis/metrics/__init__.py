"""Metrics: what counts as a value, the registry of one training, device scalars on their way to numbers, AUC, GAUC."""

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
