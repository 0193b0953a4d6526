"""Keep rows at the precision in which they are trained: the rounding errors of a narrow dtype are stored separately.

Owns the column of residuals. Must not know what trains the rows, or what they mean.
"""

from torch import Tensor

from recis.nn.modules.row_store import RowStore, trained_dtype

__all__ = ["ExactRows"]

_RESIDUAL = "residual"


class ExactRows:
    """One column of a store, read and written in its `trained_dtype`, so that updates below its own resolution
    accumulate.

    Args:
        store: has the column.
        name: name of the column.
    """

    def __init__(self, store: RowStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def _is_narrow(self) -> bool:
        dtype = self._store.column(self._name).dtype
        return dtype != trained_dtype(dtype)

    def _residual(self) -> Tensor:
        """Return the column of residuals, creating it on first use."""
        if not self._store.has(_RESIDUAL):
            self._store.add_state(_RESIDUAL, self._name, 0.0)
        return self._store.column(_RESIDUAL)

    def read(self, slots: Tensor) -> Tensor:
        """Return rows, `[N, *shape]`, a copy."""
        rows = self._store.column(self._name)[slots]
        rows = rows.to(trained_dtype(rows.dtype))
        return rows + self._residual()[slots] if self._is_narrow else rows

    def write(self, slots: Tensor, rows: Tensor) -> None:
        """Set rows in the form that `read` returns; slots are distinct."""
        column = self._store.column(self._name)
        rounded = rows.to(column.dtype)
        column.index_copy_(0, slots, rounded)
        if self._is_narrow:
            self._residual().index_copy_(0, slots, rows - rounded)

    def put(self, slots: Tensor, rows: Tensor) -> None:
        """Set rows of the column's own dtype."""
        self._store.column(self._name).index_copy_(0, slots, rows)
        if self._store.has(_RESIDUAL):
            self._residual().index_fill_(0, slots, 0.0)

    def residual(self, slots: Tensor) -> Tensor | None:
        """Return the rounding errors of rows, or None if none are stored."""
        return self._residual()[slots] if self._store.has(_RESIDUAL) else None

    def set_residual(self, slots: Tensor, residual: Tensor) -> None:
        """Set the rounding errors of rows; a no-op for wide dtypes."""
        if self._is_narrow:
            column = self._residual()
            column.index_copy_(0, slots, residual.to(column))

    def converted(self) -> None:
        """Add the rounding errors back to the rows, if a conversion of the column can now represent them."""
        if self._store.has(_RESIDUAL) and not self._is_narrow:
            self._store.column(self._name).add_(self._store.drop_column(_RESIDUAL))
