"""Images in documents, in the forms that clients write them; what an image holds is looked at later (`service/images`).

`image` as Jina, NVIDIA NIM and DashScope have it, `image_url` and a list of parts as vLLM and OpenAI do: a URL, a data URL or base64.
"""

from __future__ import annotations

from typing import Any

from batching.errors import InvalidRequest
from service.dialects.fields import wrong
from service.schemas import Picture

KEYS = ("image", "image_url")
_LEAST = 16
"""Characters; no URL of an image and no image in base64 is shorter."""
_FORMS = "a URL, a data URL or base64"


def may_be(item: dict[str, Any]) -> bool:
    """Whether a document is worth a closer look; quick, as nearly all are not."""
    return "image" in item or "image_url" in item or type(item.get("content")) is list


def take(item: dict[str, Any], field: str, index: int, images: dict[int, Picture]) -> str | None:
    """A document's text ("" without one), None where its `text` is all there is; an image is put into `images` as that of document `index`.

    Raises InvalidRequest.
    """
    seen = _read(item, field)
    if seen is None:
        return None
    found, image = seen
    if image is not None:
        images[index] = image
    return found


def _read(item: dict[str, Any], field: str) -> tuple[str, Picture | None] | None:
    """A document's text ("" without one) and its image, if any; None where its `text` is all there is."""
    for key in KEYS:
        found = item.get(key)
        if found is not None:
            text = item.get("text")
            if text is None:
                text = ""
            if not isinstance(text, str):
                raise wrong(f"{field}.text", "a string", text)
            return text, _picture(found, f"{field}.{key}")
    content = item.get("content")
    if not isinstance(content, list):
        return None
    seen = _parts(content, f"{field}.content")
    if seen[1] is None and item.get("text") is not None:
        return None
    if not content:
        raise InvalidRequest(f"{field}.content: must not be empty", f"{field}.content")
    return seen


def _picture(value: Any, field: str) -> Picture:
    if isinstance(value, dict):
        value = value.get("url")
    if not isinstance(value, str):
        raise wrong(field, _FORMS, value)
    if len(value) < _LEAST or (value[:5].lower() == "data:" and value.endswith(",")):
        raise InvalidRequest(f"{field}: expected {_FORMS} of an image, got one of {len(value)} characters", field)
    return Picture(value, field)


def _parts(content: list[Any], field: str) -> tuple[str, Picture | None]:
    """OpenAI's list of parts: texts, one below the other, and at most one image."""
    texts: list[str] = []
    pictures: list[Picture] = []
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong(f"{field}[{index}]", "an object with text or an image", part)
        image = next((key for key in KEYS if part.get(key) is not None), None)
        if image is not None:
            pictures.append(_picture(part[image], f"{field}[{index}].{image}"))
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise wrong(f"{field}[{index}]", "an object with text or an image", part)
    if len(pictures) > 1:
        raise InvalidRequest(f"{field}: {len(pictures)} images, a document has at most one", field)
    return "\n".join(texts), pictures[0] if pictures else None
