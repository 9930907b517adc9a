"""The texts that are ranked, out of documents that may be strings or objects, and the documents as they are given back."""

from __future__ import annotations

from typing import Any

from batching.errors import InvalidRequest
from service.dialects import pictures, yaml
from service.dialects.fields import array, shown, wrong
from service.schemas import Picture

_TEXT_KEYS = ("text", "content")

Images = dict[int, Picture]


def read(value: Any, field: str, limit: int, rank_fields: Any = None, images: Images | None = None) -> list[str]:
    """Texts of a list of strings or objects, in order.

    An object is ranked by the fields that `rank_fields` names, in that order, as YAML (one field: its text alone); without them by its
    `text`, else its `content`, else the whole object as YAML. Images are put into `images` by place; a dialect without that refuses them.
    Raises InvalidRequest, TooLarge over `limit` documents.
    """
    items = array(value, field, limit)
    for item in items:
        if type(item) is not str:
            break
    else:
        return items
    chosen = _rank_fields(rank_fields)
    return [item if type(item) is str else _object(item, field, index, chosen, images) for index, item in enumerate(items)]


def given(document: Any, text: str) -> dict[str, Any]:
    """A document as an object that has `text`: as it came if it was one, else around its text."""
    if isinstance(document, dict):
        return document if isinstance(document.get("text"), str) else {**document, "text": text}
    return {"text": text}


def _rank_fields(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong("rank_fields", "an array of strings", value)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise wrong(f"rank_fields[{index}]", "a string", item)
    return value


def _object(item: Any, field: str, index: int, chosen: list[str], images: Images | None) -> str:
    # The field's name is put together for errors only: this runs once per document.
    if not isinstance(item, dict) or not item:
        raise wrong(f"{field}[{index}]", "a string or an object with text", item)
    if not chosen:
        if images is not None and pictures.may_be(item) and (seen := pictures.read(item, f"{field}[{index}]")):
            images[index] = seen[1]
            return seen[0]
        found = item.get("text")
        if type(found) is str:
            return found
    try:
        return _chosen(item, field, index, chosen) if chosen else _whole(item, field, index)
    except RecursionError:
        raise InvalidRequest(f"{field}[{index}]: nested too deeply", f"{field}[{index}]") from None


def _chosen(item: dict[str, Any], field: str, index: int, chosen: list[str]) -> str:
    found = {key: item[key] for key in chosen if item.get(key) is not None}
    if not found:
        raise InvalidRequest(f"{field}[{index}]: has none of the rank_fields {shown(', '.join(chosen))}", f"{field}[{index}]")
    if len(found) == 1:
        (only,) = found.values()
        return only if isinstance(only, str) else yaml.emit(only)
    return yaml.emit(found)


def _whole(item: dict[str, Any], field: str, index: int) -> str:
    for key in _TEXT_KEYS:
        found = item.get(key)
        if found is not None:
            if not isinstance(found, str):
                raise wrong(f"{field}[{index}].{key}", "a string", found)
            return found
    for key in pictures.KEYS:
        if key in item:
            raise InvalidRequest(f"{field}[{index}].{key}: images cannot be ranked here, give text", f"{field}[{index}]")
    return yaml.emit(item)
