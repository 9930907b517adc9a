"""When a process is started again, killed or given up: decided from what its parent sees of it, without processes or clocks."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
"""Signals that a process brings upon itself."""


EXERCISE_S = 10.0
"""How long a worker is idle before it makes sure, by a small forward, that its device still works."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When a worker counts as stuck, and how often it is started again. Times in seconds."""

    forward_limit_s: float = 60.0
    load_limit_s: float = 1800.0
    exercise_s: float = EXERCISE_S
    backoff_s: float = 0.25
    max_backoff_s: float = 30.0
    max_crashes: int = 5
    """Crashes in a row, no batch scored in between, before the worker is given up: for good if it never got ready, else for a while."""


class Action(Enum):
    """What a worker needs now."""

    NOTHING = auto()
    SPAWN = auto()
    KILL = auto()
    BURY = auto()
    """Its process has ended: reap its leases, and note the crash."""
    GIVE_UP = auto()


@dataclass(frozen=True, slots=True)
class ChildView:
    """A worker's process as its parent sees it at one moment.

    Ages in seconds; `exit_code` is None while it lives or before it was started.
    """

    running: bool
    exit_code: int | None
    state: str
    age_s: float
    heartbeat_age_s: float
    forward_running_s: float
    crashes: int
    ended_age_s: float
    was_ready: bool
    """Whether any of its processes was ready: then what keeps it from it now may pass, and a later start may do."""


def next_action(child: ChildView, policy: Policy) -> Action:
    """What to do with one worker. A hang is a heart that stopped, or a forward under way, for longer than the forward limit."""
    if child.exit_code is not None:
        return Action.BURY
    if not child.running:
        return _start_again(child, policy)
    if child.state == "starting":
        return Action.KILL if child.age_s > policy.load_limit_s else Action.NOTHING
    stuck = max(child.heartbeat_age_s, child.forward_running_s) > policy.forward_limit_s
    return Action.KILL if stuck else Action.NOTHING


def _start_again(child: ChildView, policy: Policy) -> Action:
    if child.crashes >= policy.max_crashes:
        if child.state != "failed":
            return Action.GIVE_UP
        if not child.was_ready:
            return Action.NOTHING
    return Action.SPAWN if child.ended_age_s >= backoff_s(child.crashes, policy) else Action.NOTHING


def backoff_s(crashes: int, policy: Policy) -> float:
    """How long to wait after this many crashes in a row: none after the first, which may have been bad luck."""
    return 0.0 if crashes <= 1 else float(min(policy.max_backoff_s, policy.backoff_s * 2 ** (crashes - 2)))


def exit_words(code: int) -> str:
    """An exit code as a person reads it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def ended_from_outside(code: int) -> bool:
    """Whether a process that ended with `code` (negative: a signal) was ended by somebody else, as far as one can tell.

    The kernel's out-of-memory killer looks the same.
    """
    return code < 0 and -code not in FAULTS
