"""What is served here, in the words of every client that asks before it ranks: models, limits, versions. Keys are asked for."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from litestar import Request, Response, route

from batching.calibrate import Point
from batching.errors import NotFound
from service import health
from service.exchange import Exchange
from service.models import Model
from service.routes_health import READ
from service.state import State

AnyRequest = Request[Any, Any, Any]
_STARTED = int(time.time())


@route(["/v1/models", "/models"], http_method=READ, include_in_schema=False)
async def models(request: AnyRequest) -> dict[str, Any]:
    """List the served models as OpenAI's API does; the default first."""
    state = _known(request)
    return {"object": "list", "data": [_model(model) for model in state.models.all]}


@route("/v1/models/{name:path}", http_method=READ, include_in_schema=False)
async def one_model(request: AnyRequest) -> dict[str, Any]:
    """Tell one model. Raises NotFound for one that is not served."""
    state = _known(request)
    name = str(request.path_params["name"]).strip("/")
    found = state.models.find(name)
    if found is None:
        raise NotFound(f"model: {name[:100]!r} is not served here; served: {', '.join(state.models.names)}")
    return _model(found)


@route("/v1/cluster/auth", http_method=READ, include_in_schema=False)
async def cluster_auth(request: AnyRequest) -> dict[str, bool]:
    """Tell Xinference's client whether a key is needed."""
    return {"auth": State.of(request.app).keys.closed}


@route("/version", http_method=READ, include_in_schema=False)
async def version() -> dict[str, str]:
    """Tell the version, as vLLM does."""
    return {"version": health.version()}


@route("/info", http_method=READ, include_in_schema=False)
async def info(request: AnyRequest) -> dict[str, Any]:
    """Tell everything about the default model and the limits: the keys of text-embeddings-inference and of reranker-serve together."""
    state = _known(request)
    return describe(state)


@route("/stats", http_method=READ, include_in_schema=False)
async def stats(request: AnyRequest) -> Response[bytes]:
    """Tell how every queue and worker stands."""
    views = _known(request).models.views()
    return Response(msgspec.json.encode(_finite(msgspec.to_builtins(views))), media_type="application/json")


def describe(state: State) -> dict[str, Any]:
    """Return the body of /info."""
    settings, model = state.settings, state.models.all[0]
    view = state.models.views().get(model.name)
    workers = view.workers if view else []
    devices = list(dict.fromkeys(worker.device for worker in workers if worker.device))
    dtype = next((worker.dtype for worker in workers if worker.dtype), settings.dtype)
    return {
        "model_id": model.name,
        "model_sha": model.card.revision,
        "model_dtype": dtype,
        "served_model_name": model.name,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": settings.queue_tokens // model.max_length,
        "max_input_length": model.max_length,
        "max_batch_tokens": max((worker.budget_tokens for worker in workers), default=settings.token_budget or 0),
        "max_batch_requests": settings.batch_size,
        "max_client_batch_size": settings.max_documents,
        "auto_truncate": True,
        "tokenization_workers": settings.workers,
        "version": health.version(),
        "sha": None,
        "docker_label": None,
        "model_name": model.name,
        "model_path": None,
        "model_family": model.card.family.name,
        "images": takes_images(model),
        "device": ",".join(devices) or "unknown",
        "available_devices": devices,
        "device_profile": None,
        "max_length": model.max_length,
        "batch_size": settings.batch_size,
        "use_fp16": dtype == "float16",
        "offline_mode": settings.use_offline_mode,
        "async_engine_enabled": True,
        "max_concurrent_batches": len(workers),
        "inference_threads": settings.threads,
        "max_queue_size": settings.queue_tokens,
        "models": state.models.names,
        "batch_curve": curve(next((worker.curve for worker in workers if worker.curve), [])),
    }


def curve(points: list[Point]) -> list[dict[str, float]]:
    """Return what batches were measured to take when a worker started, smallest first; nothing where TOKEN_BUDGET was set."""
    return [{"tokens": point.tokens, "ms": round(point.seconds * 1e3, 3), "tokens_per_s": round(point.rate)} for point in points]


def takes_images(model: Model) -> bool:
    """Whether documents with an image are ranked."""
    return model.card.family.pictures is not None


def _known(request: AnyRequest) -> State:
    state = State.of(request.app)
    state.keys.admit(Exchange.of(request.scope).headers)
    return state


def _model(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": _STARTED,
        "owned_by": "rerankd",
        "model_type": "rerank",
        "model_name": model.name,
        "max_model_len": model.max_length,
        "input_modalities": ["text", "image"] if takes_images(model) else ["text"],
    }


def _finite(value: Any) -> Any:
    """Infinite ages are no JSON; a worker that was never heard of has none."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


HANDLERS = [models, one_model, cluster_auth, version, info, stats]
