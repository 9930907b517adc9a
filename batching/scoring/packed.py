"""Hugging Face's own modules over a pack: one row of tokens, no padding, attention kept inside sequences by `packed_varlen`."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.batch import Batch, RowRead, module_bytes, read_rows
from batching.scoring.compiled import Regions, Told, is_compilers, tell
from batching.scoring.layout import Layout
from batching.scoring.linears import round_rows
from batching.scoring.segments import Segments
from batching.types import Int32s

logger = logging.getLogger("rerankd.worker")


class PackedForward:
    """A base model that uses transformers' attention interface (models.md 6.1)."""

    padded = False
    warm_up_rows: tuple[int, ...] = ()

    def __init__(self, base: PreTrainedModel, backend: str, *, rounds: bool = False) -> None:
        """`rounds`: run on row counts of a small set only, see `linears`."""
        self.backend = backend
        self._base = base
        self._rounds = rounds
        self.regions: Regions | None = None
        """Compiled blocks, used for rows that they can serve."""
        self._fixed: dict[str, Any] = {}
        if "use_cache" in inspect.signature(base.forward).parameters:
            self._fixed["use_cache"] = False

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return round_rows(tokens) - tokens if self._rounds else 0

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`."""
        return {}

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`. Positions are given for every sequence: the default would count through the whole row."""
        told = None if self.regions is None else tell(batch.segments)
        if self.regions is None or told is None:
            return self._run(batch, batch.segments)
        try:
            with self.regions.use():
                return self._run(batch, told)
        except Exception as error:
            if not is_compilers(error):
                raise
            logger.warning("blocks are no longer compiled: %s", str(error).partition("\n")[0])
            self.regions = None
            return self._run(batch, batch.segments)

    def _run(self, batch: Batch, segments: Segments | Told) -> Tensor:
        tensors = batch.tensors
        fields = dict(self._fixed)
        if "types" in tensors:
            fields["token_type_ids"] = tensors["types"].unsqueeze(0)
        given = "input_ids" if "embeds" not in tensors else "inputs_embeds"
        output = self._base(
            **{given: tensors["ids" if given == "input_ids" else "embeds"].unsqueeze(0)},
            position_ids=tensors["positions"].long().unsqueeze(0),
            segments=segments,
            **fields,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden[0]

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`."""
        return read_rows(self.hidden(batch), batch, read)

    def weights_bytes(self) -> int:
        """See `Forward`."""
        return module_bytes(self._base)
