"""Whatever stands in a checkpoint's files, it is served or refused with one line: no other error comes out."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batching.errors import InvalidRequest, UnsupportedModel
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests.unit.families.conftest import Shelf

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**7) | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a JSON tree, but for the insides of long lists and vocabularies."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path] + [found for key, inner in items[:40] for found in paths(inner, (*path, key))]


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at `path`."""
    if not path:
        return value
    tree[path[0]] = put(tree[path[0]], path[1:], value)
    return tree


@pytest.mark.parametrize("name", ["bi_encoder", "colbert", "ettin", "qwen3_logit_score", "xlm_roberta"])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_anywhere(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    """One value of one JSON file is replaced by anything."""
    source = shelf.path(name)
    file = data.draw(st.sampled_from(sorted(source.rglob("*.json"))))
    tree = json.loads(file.read_text())
    path = data.draw(st.sampled_from(paths(tree)))
    value = data.draw(VALUES)
    directory = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(source, directory)
    text = json.dumps(put(tree, path, value))
    (directory / file.relative_to(source)).write_text(text)
    try:
        Encoder(detect(directory, "m")).encode("a", ["b", "c"])
    except UnsupportedModel as error:
        assert "\n" not in str(error)
    except InvalidRequest:
        assert "length" in text
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("content", [b"", b"\x08" + b"\0" * 7 + b"{}      ", b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 64])
def test_any_weights(shelf: Shelf, tmp_path: Path, content: bytes) -> None:
    """A file that is no safetensors file is refused."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    (directory / "model.safetensors").write_bytes(content)
    with pytest.raises(UnsupportedModel):
        detect(directory, "m")


def test_a_vocabulary_without_its_unknown_token(shelf: Shelf, tmp_path: Path) -> None:
    """Empty, so that the library itself can read no letter with it."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("colbert"), directory)
    tree = json.loads((directory / "tokenizer.json").read_text())
    tree["model"]["vocab"] = {}
    (directory / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json can't be read: .*UNK"):
        Encoder(detect(directory, "m"))


def test_a_file_that_may_not_be_read(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of another user is named, not a bug of ours."""
    path = shelf.path("bert")

    def refuse(file: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnsupportedModel, match=r"config\.json can't be read \(Permission denied\)"):
        detect(path, "m")
