"""`rerankd serve`: finds the models, decides the workers, and hands over to the supervisor."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import rich_click as click

from service import logs, model_files, placement, preflight, tracing
from service.commands.options import setting_options, settings_of
from service.settings import Settings
from service.supervisor import ModelPlan, Supervisor

log = logging.getLogger("rerankd.serve")


@click.command("serve")
@setting_options()
def command(**options: Any) -> None:
    """Serve models over HTTP."""
    settings = settings_of(options)
    logs.set_up(settings, "supervisor")
    sys.exit(Supervisor(settings, plan(settings)).run())


def plan(settings: Settings) -> list[ModelPlan]:
    """Find every model and decide its workers. Raises StartError."""
    machine = placement.look(dict(os.environ))
    devices = placement.devices(settings, machine)
    tracing.check(settings)
    preflight.check(settings)
    cards = model_files.cards(settings)
    for card in cards:
        log.info(
            "model %s: %s, %s, %.1f MB, at most %d tokens",
            card.name,
            card.family.name,
            card.architecture,
            card.weights_bytes / 1e6,
            card.max_length,
        )
        for device in devices:
            preflight.check_memory(card, settings, device)
        if settings.max_length > card.max_length and settings.max_length != Settings().max_length:
            log.warning("%s takes at most %d tokens, less than RERANKER_MAX_LENGTH=%d", card.name, card.max_length, settings.max_length)
    return [ModelPlan(card=card, workers=placement.specs(settings, card, machine, len(cards))) for card in cards]
