"""Look up a table's rows for the ids of a feature, and combine them per sample: `EmbeddingOption`, `DynamicEmbedding`.

Owns the options and the combiners. Must not know how a table finds rows, or several features (`embedding_engine`).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.hashtable import HashTable
from recis.numerals import positive_int
from recis.ragged.tensor import RaggedTensor

__all__ = ["DynamicEmbedding", "EmbeddingOption", "embed", "make_table"]

_COMBINERS = ("sum", "mean", "tile", None)

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class EmbeddingOption:
    """How the ids of a feature become an embedding; most options configure the table in which they are looked up.

    Attributes:
        embedding_dim: length of a row.
        block_size: the table grows in multiples of this many rows.
        dtype: dtype of the rows; see `HashTable`.
        device: where the table lives; torch's default device when None.
        trainable: whether rows get gradients.
        pg: accepted for compatibility with RecIS; here every process has its own tables.
        max_partition_num: accepted for compatibility with RecIS.
        shared_name: name of the table; features with the same one share it.
        children: see `HashTable`; the table's own name when empty.
        coalesced: see `HashTable`.
        initializer: fills new rows; zeros when None. See `HashTable`.
        use_weight: whether the weights of ids are applied.
        combiner: how the rows of a sample are combined: "sum"; "mean"; "tile", concatenated, truncated or padded with
            zeros to `combiner_kwargs["tile_len"]` rows; or None, not combined.
        combiner_kwargs: see `combiner`.
        grad_reduce_by: "worker" or "id", which differ only between processes: within one, gradients of a sample's ids
            add up.
        filter_hook: which rows a filter pass evicts; none when None.
        admit_hook: which new ids get a row; all when None.
        fp16_enabled: must be False.

    Raises:
        ArgumentError: (a `ValueError`) a value is not one of those above.
    """

    embedding_dim: int = 16
    block_size: int = 10240
    dtype: torch.dtype = torch.float32
    device: torch.device | str | None = None
    trainable: bool = True
    pg: Any = None
    max_partition_num: int = 65536
    shared_name: str = "embedding"
    children: Sequence[str] = ()
    coalesced: bool = False
    initializer: Any = None
    use_weight: bool = True
    combiner: str | None = "sum"
    combiner_kwargs: dict[str, Any] | None = None
    grad_reduce_by: str = "worker"
    filter_hook: FilterHook | None = None
    admit_hook: AdmitHook | None = None
    fp16_enabled: bool = False

    def __post_init__(self) -> None:
        self.embedding_dim = positive_int("EmbeddingOption's embedding_dim", self.embedding_dim)
        self.combiner = None if self.combiner == "none" else self.combiner
        if not any(self.combiner is known or self.combiner == known for known in _COMBINERS):
            raise ArgumentError("EmbeddingOption's combiner", "'sum', 'mean', 'tile' or None", self.combiner)
        if self.combiner == "tile":
            told = self.combiner_kwargs if isinstance(self.combiner_kwargs, dict) else {}
            where = "EmbeddingOption's combiner_kwargs['tile_len'] for the combiner 'tile'"
            self.combiner_kwargs = {**told, "tile_len": positive_int(where, told.get("tile_len"), "ids a sample")}
        if self.fp16_enabled:
            raise ArgumentError("EmbeddingOption's fp16_enabled", "False (rows of int8 are not supported)", True)
        if self.pg is not None:
            _logger.warning("EmbeddingOption's pg is not used: every process has its own tables and exchanges no rows")


def make_table(option: EmbeddingOption) -> HashTable:
    """Return a new table as an option describes it."""
    return HashTable(
        embedding_shape=[option.embedding_dim],
        block_size=option.block_size,
        dtype=option.dtype,
        device=option.device,
        coalesced=option.coalesced,
        children=option.children or None,
        initializer=option.initializer,
        name=option.shared_name,
        # Within one process both ways add up the gradients of a sample's ids: RecIS looks up each id once a batch, so
        # that its mean by id is a mean over processes.
        grad_reduce_by="worker",
        filter_hook=option.filter_hook,
    )


class DynamicEmbedding(nn.Module):
    """A table, and the way in which its rows are combined per sample.

    Args:
        emb_opt: the options.
        pg: accepted for compatibility with RecIS; see `EmbeddingOption`.

    Attributes:
        table: the `HashTable`.
    """

    def __init__(self, emb_opt: EmbeddingOption, pg: Any = None) -> None:
        super().__init__()
        if not isinstance(emb_opt, EmbeddingOption):
            raise TypeError(f"DynamicEmbedding's emb_opt: expected an EmbeddingOption, got {type(emb_opt).__name__}")
        self._option = emb_opt
        self.table = make_table(emb_opt)

    def forward(self, input_ids: Tensor | RaggedTensor, input_weights: Tensor | None = None) -> Any:
        """Return the embedding of each sample.

        Args:
            input_ids: int64, on any device: `[N]`, one id per sample; `[..., k]`, k ids per sample; or ragged, any
                number.
            input_weights: a factor for each row, in the shape of the ids; the weight of ragged ids when None.

        Returns:
            `[..., embedding_dim]`, on the ids' device; `[..., tile_len * embedding_dim]` for "tile". Without a
            combiner, one row per id, ragged if the ids are.

        Raises:
            TypeError: ids of an unsupported kind.
            ValueError: weights that do not fit.
        """
        embedded = embed(self.table, self._option, input_ids, input_weights)
        return embedded.flatten(-2) if self._option.combiner == "tile" else embedded


def embed(table: HashTable, option: EmbeddingOption, ids: Tensor | RaggedTensor, weights: Tensor | None = None) -> Any:
    """Return the rows of ids, combined per sample; "tile" gives `[..., tile_len, embedding_dim]`."""
    where = f"ids for the table {table.name!r}"
    if isinstance(ids, Tensor) and ids.layout == torch.jagged:
        ids = RaggedTensor.from_jagged(ids)
    if isinstance(ids, RaggedTensor):
        values, shape = ids.values(), ids.real_shape(0, -1)
        offsets = ids.offsets()[-1]
        weights = ids.weight() if weights is None else weights
        if torch.Size(shape).numel() != len(offsets) - 1:
            expected = f"{torch.Size(shape).numel()} rows, or inner levels that are padded to one length"
            raise ArgumentError(where, expected, f"{len(offsets) - 1} rows")
    elif isinstance(ids, Tensor) and ids.layout == torch.strided:
        values, shape = ids.reshape(-1), tuple(ids.shape[:-1] if ids.dim() > 1 else ids.shape)
        width = ids.shape[-1] if ids.dim() > 1 else 1
        offsets = torch.arange(torch.Size(shape).numel() + 1, device=ids.device) * width
    else:
        got = f"{ids.layout} tensor" if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(f"{where}: expected a dense, jagged or RaggedTensor, got {got}")
    rows = table(values.to(table.device), admit_hook=option.admit_hook).to(values.device)
    if weights is not None and option.use_weight:
        if weights.numel() != values.numel():
            raise ArgumentError(f"weights of the {where}", f"{values.numel()} numbers", weights.numel())
        rows = rows * weights.reshape(-1, 1).to(rows)
    if not option.trainable:
        rows = rows.detach()
    if option.combiner is None:
        return _as(ids, rows)
    if option.combiner == "tile":
        assert option.combiner_kwargs is not None
        combined = _tile(rows, offsets, option.combiner_kwargs["tile_len"])
    else:
        places = torch.arange(len(rows), device=rows.device)
        combined = nn.functional.embedding_bag(places, rows, offsets[:-1].to(places.dtype), mode=option.combiner)
    return combined.view(*shape, *combined.shape[1:])


def _as(ids: Tensor | RaggedTensor, rows: Tensor) -> Tensor | RaggedTensor:
    """Return one row per id, in the form of the given ids."""
    if isinstance(ids, RaggedTensor):
        return RaggedTensor(rows, ids.offsets(), dense_shape=ids.shape)
    return rows.view(*ids.shape, *rows.shape[1:])


def _tile(rows: Tensor, offsets: Tensor, length: int) -> Tensor:
    """Return the first rows of each sample, padded with zeros: `[samples, length, *row]`."""
    place = torch.arange(length, device=rows.device)
    filled = place < offsets.diff()[:, None]
    tiled = rows.new_zeros(*filled.shape, *rows.shape[1:])
    tiled[filled] = rows[(offsets[:-1, None] + place)[filled]]
    return tiled
