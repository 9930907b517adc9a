"""The texts that are ranked, out of documents that may be strings or objects, and the documents as they are given back."""

from __future__ import annotations

from typing import Any

from batching.errors import InvalidRequest
from service.dialects import pictures, yaml
from service.dialects.fields import array, shown, wrong
from service.schemas import Picture

_TEXT_KEYS = ("text", "content")

Images = dict[int, Picture]


def several(value: Any, field: str) -> tuple[Any, str]:
    """The documents as a list, and what the caller calls each, `{}` being its number.

    vLLM takes a lone string, and a lone object with `content`, whose parts are a document each (vllm/entrypoints/pooling/scoring, its
    ScoreInputs and `_normalize`).
    """
    if isinstance(value, str):
        return [value], field
    if not isinstance(value, dict) or not isinstance(value.get("content"), list):
        return value, f"{field}[{{}}]"
    for index, part in enumerate(value["content"]):
        if not isinstance(part, dict) or not any(part.get(key) is not None for key in ("text", *pictures.KEYS)):
            raise wrong(f"{field}.content[{index}]", "an object with text or an image", part)
    return value["content"], f"{field}.content[{{}}]"


def read(value: Any, field: str, limit: int, rank_fields: Any = None, images: Images | None = None, named: str | None = None) -> list[str]:
    """Texts of a list of strings or objects, in order.

    An object is ranked by the fields that `rank_fields` names, in that order, as YAML (one field: its text alone); without them by its
    `text`, else its `content`, else the whole object as YAML. Images are put into `images` by place; a dialect without that refuses them.
    `named`: what the caller calls a document, if not by the field and its number. Raises InvalidRequest, TooLarge over `limit` documents.
    """
    items = array(value, field, limit)
    for item in items:
        if type(item) is not str:
            break
    else:
        return items
    chosen = _rank_fields(rank_fields)
    named = named or f"{field}[{{}}]"
    return [item if type(item) is str else _object(item, named, index, chosen, images) for index, item in enumerate(items)]


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


def _object(item: Any, named: str, index: int, chosen: list[str], images: Images | None) -> str:
    # The field's name is put together for errors only: this runs once per document.
    if not isinstance(item, dict) or not item:
        raise wrong(named.format(index), "a string or an object with text", item)
    if not chosen:
        if images is not None and pictures.may_be(item):
            seen = pictures.take(item, named.format(index), index, images)
            if seen is not None:
                return seen
        found = item.get("text")
        if type(found) is str:
            return found
    return _chosen(item, named, index, chosen) if chosen else _whole(item, named, index)


def _chosen(item: dict[str, Any], named: str, index: int, chosen: list[str]) -> str:
    found = {key: item[key] for key in chosen if item.get(key) is not None}
    if not found:
        field = named.format(index)
        raise InvalidRequest(f"{field}: has none of the rank_fields {shown(', '.join(chosen))}", field)
    if len(found) == 1:
        (only,) = found.values()
        return only if isinstance(only, str) else yaml.emit(only)
    return yaml.emit(found)


def _whole(item: dict[str, Any], named: str, index: int) -> str:
    for key in _TEXT_KEYS:
        found = item.get(key)
        if found is not None:
            if not isinstance(found, str):
                raise wrong(f"{named.format(index)}.{key}", "a string", found)
            return found
    for key in pictures.KEYS:
        if key in item:
            field = named.format(index)
            raise InvalidRequest(f"{field}.{key}: images cannot be ranked here, give text", field)
    return yaml.emit(item)
