"""The texts that are ranked, out of documents that may be strings or objects, and the documents as they are given back."""

from __future__ import annotations

from typing import Any

from batching.errors import InvalidRequest
from service.dialects import yaml
from service.dialects.fields import array, shown, wrong

_TEXT_KEYS = ("text", "content")
_IMAGE_KEYS = ("image", "image_url")


def read(value: Any, field: str, limit: int, rank_fields: Any = None) -> list[str]:
    """Texts of a list of strings or objects, in order.

    An object is ranked by the fields that `rank_fields` names, in that order, as YAML (one field: its text alone); without them by its
    `text`, else its `content`, else the whole object as YAML. Raises InvalidRequest, TooLarge over `limit` documents.
    """
    items = array(value, field, limit)
    for item in items:
        if type(item) is not str:
            break
    else:
        return items
    chosen = _rank_fields(rank_fields)
    return [item if type(item) is str else _object(item, f"{field}[{index}]", chosen) for index, item in enumerate(items)]


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


def _object(item: Any, field: str, chosen: list[str]) -> str:
    if not isinstance(item, dict) or not item:
        raise wrong(field, "a string or an object with text", item)
    try:
        return _chosen(item, field, chosen) if chosen else _whole(item, field)
    except RecursionError:
        raise InvalidRequest(f"{field}: nested too deeply", field) from None


def _chosen(item: dict[str, Any], field: str, chosen: list[str]) -> str:
    found = {key: item[key] for key in chosen if item.get(key) is not None}
    if not found:
        raise InvalidRequest(f"{field}: has none of the rank_fields {shown(', '.join(chosen))}", field)
    if len(found) == 1:
        (only,) = found.values()
        return only if isinstance(only, str) else yaml.emit(only)
    return yaml.emit(found)


def _whole(item: dict[str, Any], field: str) -> str:
    for key in _TEXT_KEYS:
        if item.get(key) is not None:
            if not isinstance(item[key], str):
                raise wrong(f"{field}.{key}", "a string", item[key])
            return str(item[key])
    for key in _IMAGE_KEYS:
        if key in item:
            raise InvalidRequest(f"{field}.{key}: images cannot be ranked here, give text", field)
    return yaml.emit(item)
