"""The whole service with a scorer that costs nothing, so that all the rest is measured: `python -m ops.bench.costless --port 8000`.

Takes the options of `rerankd serve`. Nothing of this is in the product: the same supervisor is given other workers.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec
import numpy as np
import rich_click as click

from batching.pool import WorkerSpec
from batching.types import Collect, Pack
from service import logs
from service.commands.options import setting_options, settings_of
from service.commands.serve import plan
from service.supervisor import ModelPlan, Supervisor


class CostlessScorer:
    """Scores every pair by its length alone."""

    device, dtype, backend, depth = "cpu", "float32", "costless", 0
    padded = False

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens

    def memory_bytes(self) -> int:
        """None to speak of."""
        return 0

    def exercise(self) -> None:
        """Nothing to see to."""

    def launch(self, pack: Pack) -> Collect:
        """See `batching.types.Scorer`."""
        firsts = (np.cumsum(pack.entry_sequences) - pack.entry_sequences)[pack.entry_shared]
        scores = np.delete(pack.lengths, firsts).astype(np.float32) / 1000
        return lambda: scores


def make(options: dict[str, Any]) -> CostlessScorer:
    """The factory that a worker is told to call."""
    return CostlessScorer(int(options["budget_tokens"]) or 16384)


def costless(model: ModelPlan) -> ModelPlan:
    """The same model with one costless worker."""
    budget = model.workers[0].budget_tokens or 16384
    worker = WorkerSpec(
        factory="ops.bench.costless:make", options={"budget_tokens": budget}, environment={"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    return msgspec.structs.replace(model, workers=[worker])


@click.command("costless")
@setting_options()
def main(**options: Any) -> None:
    """Serve with a scorer that costs nothing."""
    settings = settings_of(options)
    logs.set_up(settings, "supervisor")
    sys.exit(Supervisor(settings, [costless(model) for model in plan(settings)]).run())


if __name__ == "__main__":
    main()
