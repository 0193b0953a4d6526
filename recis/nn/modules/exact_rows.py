"""Rows at the precision in which they are trained: what a narrow dtype rounds away is kept beside them.

Owns the column of residuals. Must not know who trains rows, or what they mean.
"""

from torch import Tensor

from recis.nn.modules.row_store import RowStore, trained_dtype

__all__ = ["ExactRows"]

_RESIDUAL = "residual"


class ExactRows:
    """One column of a store, read and written in its `trained_dtype`, so that steps below its own resolution add up.

    Args:
        store: where the column is.
        name: its name.
    """

    def __init__(self, store: RowStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def _is_narrow(self) -> bool:
        dtype = self._store.column(self._name).dtype
        return dtype != trained_dtype(dtype)

    def _residual(self) -> Tensor:
        """Return the column of residuals, which is there from the first time on that something is rounded away."""
        if not self._store.has(_RESIDUAL):
            self._store.add_state(_RESIDUAL, self._name, 0.0)
        return self._store.column(_RESIDUAL)

    def read(self, slots: Tensor) -> Tensor:
        """Return rows, `[N, *shape]`, a copy."""
        rows = self._store.column(self._name)[slots]
        rows = rows.to(trained_dtype(rows.dtype))
        return rows + self._residual()[slots] if self._is_narrow else rows

    def write(self, slots: Tensor, rows: Tensor) -> None:
        """Set rows as `read` gives them; slots are distinct."""
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
        """Return what rows have lost to rounding, or None where nothing is kept."""
        return self._residual()[slots] if self._store.has(_RESIDUAL) else None

    def set_residual(self, slots: Tensor, residual: Tensor) -> None:
        """Set what rows have lost to rounding; of no use to wide ones."""
        if self._is_narrow:
            column = self._residual()
            column.index_copy_(0, slots, residual.to(column))

    def converted(self) -> None:
        """Give rows back what they had lost, if a conversion of the column has made room for it."""
        if self._store.has(_RESIDUAL) and not self._is_narrow:
            self._store.column(self._name).add_(self._store.drop_column(_RESIDUAL))
