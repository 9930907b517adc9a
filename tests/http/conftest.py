"""One fake model behind a real application, and ways to ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from service.app import create_app
from tests.http.fakes import FakeModel, settings

Client = TestClient[Litestar]
Start = Callable[..., Client]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def start(model: FakeModel) -> Iterator[Start]:
    """Start an application with settings given as texts; stopped at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start_one(*others: FakeModel, shared: Path | None = None, index: int = 0, **values: Any) -> Client:
            app = create_app(settings(**values), [one.served for one in (model, *others)], index, shared)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start_one


@pytest.fixture
def client(start: Start) -> Client:
    return start()
