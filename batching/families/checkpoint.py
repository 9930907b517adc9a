"""Reading a checkpoint's directory without loading it: JSON files, the names and sizes of its tensors, a revision.

Only headers of safetensors files are read. Pickled weights are never opened.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from batching.errors import UnsupportedModel

SAFETENSORS_HEADER = struct.Struct("<Q")
"""A safetensors file begins with its JSON header's length, a little-endian uint64."""
MAX_HEADER_BYTES = 100_000_000
WHOLE = "model.safetensors"


class Weights(msgspec.Struct, frozen=True):
    """A checkpoint's tensors: names with their shapes, bytes in all, and the files that hold them."""

    shapes: dict[str, tuple[int, ...]]
    total_bytes: int
    files: tuple[str, ...]

    def has(self, ending: str) -> bool:
        """Whether a tensor's name is `ending` or ends in `.ending`."""
        return any(name == ending or name.endswith("." + ending) for name in self.shapes)


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Turn what a file of an unexpected shape leads to into UnsupportedModel, so that a damaged checkpoint is one line and no traceback."""
    try:
        yield
    except UnsupportedModel as error:
        # names out of a file may hold anything, line breaks too
        raise UnsupportedModel(" ".join(str(error).split())) from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnsupportedModel(
            f"a file of {root} holds something unexpected ({type(error).__name__}: {error}); download it again"
        ) from error
    except OSError as error:
        raise UnsupportedModel(
            f"{error.filename or root} can't be read ({error.strerror or error}); it must be readable to this user"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The file's object, or {} where there is no such file; raises UnsupportedModel when it is not a JSON object."""
    content = read_any_json(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UnsupportedModel(f"{path} does not hold a JSON object; the checkpoint is damaged, download it again")
    return content


def read_any_json(path: Path) -> Any:
    """The file's JSON value, or None where there is no such file; raises UnsupportedModel when it is not JSON."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnsupportedModel(f"{path} is not valid JSON ({error}); the checkpoint is damaged, download it again") from error


def read_weights(directory: Path) -> Weights:
    """Names, shapes and size of the tensors in `directory`; raises UnsupportedModel when there are none that can be read safely."""
    names = weight_files(directory)
    missing = [name for name in names if not (directory / name).is_file()]
    if missing or not names:
        raise UnsupportedModel(_why_no_weights(directory, missing, sharded=names != (WHOLE,)))
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        shapes.update(read_header(directory / name))
    total = sum((directory / name).stat().st_size for name in names)
    return Weights(shapes=shapes, total_bytes=total, files=names)


def weight_files(directory: Path) -> tuple[str, ...]:
    """The safetensors files that `from_pretrained` reads from `directory`: one for all, else those of the index.

    Others may lie beside them (an older save's shards, a training run's copy) and are not the model.
    """
    if (directory / WHOLE).is_file():
        return (WHOLE,)
    index = read_json(directory / "model.safetensors.index.json")
    return tuple(sorted(set(index.get("weight_map", {}).values()))) if index else (WHOLE,)


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of one safetensors file, after checking that the file is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(SAFETENSORS_HEADER.size)
        length = SAFETENSORS_HEADER.unpack(first)[0] if len(first) == SAFETENSORS_HEADER.size else 0
        if not 0 < length <= min(size, MAX_HEADER_BYTES):
            raise UnsupportedModel(f"{path} is not a safetensors file (a Git LFS pointer or a partial download?); download it again")
        try:
            header = msgspec.json.decode(file.read(length))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnsupportedModel(f"{path} has a damaged header; download it again") from error
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != SAFETENSORS_HEADER.size + length + end:
        raise UnsupportedModel(f"{path} has {size} bytes where its header says {SAFETENSORS_HEADER.size + length + end}; download it again")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def revision(directory: Path, weights: Weights, config: dict[str, Any]) -> str:
    """Sixteen hex digits over the configuration, the tensors' names and shapes, and the files' sizes and times of change."""
    digest = hashlib.sha256(msgspec.json.encode([config, sorted(weights.shapes.items())], order="deterministic"))
    for name in weights.files:
        status = (directory / name).stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _why_no_weights(directory: Path, missing: list[str], *, sharded: bool) -> str:
    """One line: what weights are there instead, and what to do."""
    if sharded:
        return f"{directory} lacks {', '.join(missing[:3])} of its sharded weights; download the model again"
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        return (
            f"{directory} holds only pickled weights (.bin), which are not loaded; convert them to model.safetensors with save_pretrained"
        )
    if any(directory.glob("*.gguf")):
        return f"{directory} holds GGUF weights, which are not supported; use the original checkpoint with model.safetensors"
    if any(directory.rglob("*.onnx")):
        return f"{directory} holds only an ONNX export; use the original checkpoint with model.safetensors"
    return f"{directory} holds no weights (model.safetensors); download the model with `rerankd download`"
