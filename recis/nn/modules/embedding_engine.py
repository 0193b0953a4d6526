"""`EmbeddingEngine`: the embeddings of all features of a batch, over tables that features may share.

Owns which feature uses which table. Must not know how rows are combined (`embedding`).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.nn.modules.embedding import EmbeddingOption, embed, make_table
from recis.nn.modules.hashtable import HashTable
from recis.ragged.tensor import RaggedTensor

__all__ = ["EmbeddingEngine"]

_OF_THE_TABLE = ("embedding_dim", "dtype", "device", "initializer", "grad_reduce_by", "filter_hook")
"""Options in which features that share a table must agree."""


class EmbeddingEngine(nn.Module):
    """Looks up every feature of a batch that has an option; one table for each `shared_name`.

    Args:
        emb_options: the option of each feature, by its name.

    Raises:
        TypeError: not a mapping of names to options.
        ValueError: features that share a table have different options for it.
    """

    def __init__(self, emb_options: Mapping[str, EmbeddingOption]) -> None:
        super().__init__()
        if not isinstance(emb_options, Mapping) or not all(
            isinstance(o, EmbeddingOption) for o in emb_options.values()
        ):
            got = emb_options if isinstance(emb_options, Mapping) else type(emb_options).__name__
            raise TypeError(f"EmbeddingEngine's emb_options: expected EmbeddingOptions by feature, got {got!r}")
        self._options = dict(emb_options)
        self._tables = nn.ModuleDict()
        first: dict[str, str] = {}  # the feature that a table was created for
        for feature, option in self._options.items():
            other = first.setdefault(option.shared_name, feature)
            _check_agreement(option, feature, self._options[other], other)
            if other == feature:
                self._tables[_key(option.shared_name)] = make_table(option)

    def table(self, shared_name: str) -> HashTable:
        """Return the table of a `shared_name`.

        Raises:
            KeyError: no feature has it.
        """
        table = self._tables[_key(shared_name)]
        assert isinstance(table, HashTable)
        return table

    def forward(self, input_features: Mapping[str, Any]) -> dict[str, Any]:
        """Return the embedding of each feature that has an option, and the others unchanged, but ragged ones as dense.

        Args:
            input_features: a batch: ids in the forms that `DynamicEmbedding` accepts, and other inputs of the model.

        Raises:
            TypeError: a feature is a sparse tensor.
        """
        outputs = {}
        for name, value in input_features.items():
            if name in self._options:
                option = self._options[name]
                embedded = embed(self.table(option.shared_name), option, value)
                # RecIS tiles dense ids into one row per sample, and keeps ragged ones separate.
                tiled = option.combiner == "tile" and isinstance(value, Tensor) and value.layout == torch.strided
                outputs[name] = embedded.flatten(-2) if tiled else embedded
            elif isinstance(value, RaggedTensor):
                outputs[name] = value.to_dense()
            elif isinstance(value, Tensor) and value.is_sparse:
                raise TypeError(f"feature {name!r}: expected a dense or a RaggedTensor, got a sparse tensor")
            else:
                outputs[name] = value
        return outputs


def _key(shared_name: str) -> str:
    """Return the name of a table among its engine's modules: one without a dot, and not that of an attribute."""
    return "table:" + shared_name.replace("%", "%25").replace(".", "%2E")


def _check_agreement(option: EmbeddingOption, feature: str, other: EmbeddingOption, other_feature: str) -> None:
    wanted, got = _facts(other), _facts(option)
    differing = [name for name in _OF_THE_TABLE if wanted[name] != got[name]]
    if differing:
        raise ArgumentError(
            f"feature {feature!r}, which shares the table {option.shared_name!r} with {other_feature!r}",
            ", ".join(f"{name}={wanted[name]}" for name in differing),
            ", ".join(f"{name}={got[name]}" for name in differing),
        )


def _facts(option: EmbeddingOption) -> dict[str, str]:
    facts = {name: str(getattr(option, name)) for name in _OF_THE_TABLE}
    return {**facts, "device": str(torch.empty(0, device=option.device).device)}  # None is torch's default device
