"""A whole service with fake scorers: real supervisor, HTTP processes, tokenizer and queue. `python -m tests.processes.driver JSON`."""

from __future__ import annotations

import json
import os
import sys

import msgspec

from batching.errors import SettingError, StartError
from batching.pool import WorkerSpec
from service import logs, model_files
from service.settings_load import load_settings
from service.supervisor import ModelPlan, Supervisor


class Told(msgspec.Struct, frozen=True):
    """What a test asks for: settings as texts, and one list of scorers per model of MODEL_NAME, as (factory, options)."""

    settings: dict[str, str]
    workers: list[list[tuple[str, dict[str, object]]]]


def main(argument: str) -> int:
    """Serve; returns the exit code."""
    told = msgspec.json.decode(argument, type=Told)
    settings = load_settings(os.environ, told.settings)
    logs.set_up(settings, "supervisor")
    budget = settings.token_budget or 2048
    plans = [
        ModelPlan(card=card, workers=[WorkerSpec(factory=factory, options=options, budget_tokens=budget) for factory, options in workers])
        for card, workers in zip(model_files.cards(settings), told.workers, strict=True)
    ]
    try:
        return Supervisor(settings, plans).run()
    except StartError as error:
        sys.stderr.write(f"rerankd: {error}\n")
        return 2 if isinstance(error, SettingError) else 1


def argument(settings: dict[str, str], *workers: list[tuple[str, dict[str, object]]]) -> str:
    """What the driver takes on its command line."""
    return json.dumps({"settings": settings, "workers": workers})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
