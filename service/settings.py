"""Every setting of the service, each declared once: name, type, range, default, help and weaker alias.

The command line, the README table, the start-up checks and what travels to child processes come from this declaration. How a text
becomes a value is in `settings_parse`, where the texts come from in `settings_load`. Nothing below `service/` reads the environment.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

PREFIX = "RERANKER_"
SECTIONS = {
    "host": "Listening",
    "model_name": "Models",
    "device": "Devices",
    "token_budget": "Batching",
    "max_length": "Requests",
    "images": "Images",
    "api_key": "Callers",
    "log_level": "Watching",
    "drain_grace": "Stopping",
}
"""Titles of the settings' sections, by the setting that each begins with."""


class About(msgspec.Struct, frozen=True):
    """What is said about one setting besides its name, type and default."""

    help: str
    alias: str = ""
    """Weaker environment variables without the prefix, separated by blanks."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    kind: Literal["", "bytes", "key"] = ""
    """"bytes" takes the suffixes K, M and G; "key" is hashed on reading."""
    none: str = "auto"
    """The word for an absent value, where the type allows one."""
    pattern: str = ""
    """What a text, or every part of a list, must match whole."""
    takes: str = ""
    """The range in words, where type and bounds don't tell it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the service was told; immutable, checked, and JSON both ways."""

    host: Annotated[str, About("Address to listen on. Loopback unless told; `0.0.0.0` opens the service to the network.", alias="HOST")] = (
        "127.0.0.1"
    )
    port: Annotated[int, About("TCP port; 0 lets the system choose one.", alias="PORT", ge=0, le=65535)] = 8000
    uds: Annotated[str | None, About("Path of a Unix socket to listen on instead of a TCP port.", none="none")] = None
    workers: Annotated[int, About("HTTP processes.", ge=1, le=256)] = 1
    tls_cert: Annotated[str | None, About("TLS certificate file (PEM); needs TLS_KEY.", none="none")] = None
    tls_key: Annotated[str | None, About("TLS private key file (PEM); needs TLS_CERT.", none="none")] = None
    tls_min: Annotated[Literal["1.2", "1.3"], About("Oldest version of TLS that is spoken.")] = "1.3"
    http2: Annotated[bool, About("Speak HTTP/2 too.")] = False
    cors_origins: Annotated[
        tuple[str, ...],
        About(
            "Origins that browsers may call from; closed if not set.",
            alias="CORS_ORIGINS",
            pattern=r"\*|https?://[^/\s]+",
            takes="a comma-separated list of origins (https://example.org), or *",
        ),
    ] = ()
    runtime_dir: Annotated[str | None, About("Where the runtime directory is made; a tmpfs is best.")] = None

    model_name: Annotated[
        tuple[str, ...],
        About(
            "Models to serve; the first is the default. A hub name, a directory, or `starter`.",
            alias="MODEL MODEL_NAME",
            pattern=r"\S(.*\S)?",
            takes="a comma-separated list of names",
        ),
    ] = ("BAAI/bge-reranker-v2-m3",)
    model_path: Annotated[
        tuple[str, ...], About("Directories holding the models of MODEL_NAME, in its order; an empty place means look it up.")
    ] = ()
    model_cache_dir: Annotated[
        str | None,
        About("Where downloaded models are kept; auto: `rerankd` in HF_HOME. The hub client's cache is looked into as well.", none="auto"),
    ] = None
    use_offline_mode: Annotated[bool, About("Never ask a model hub; a model that is not on disk is an error.")] = False
    strict_models: Annotated[bool, About("Refuse an unknown model name (404) instead of answering with the default model.")] = False
    recipe: Annotated[str | None, About("Force a model family where a checkpoint's files don't tell.")] = None

    device: Annotated[
        tuple[str, ...],
        About(
            "Devices that hold a copy of every model; auto: all GPUs, else the CPU.",
            alias="DEVICE",
            pattern=r"auto|cpu|mps|cuda(:\d{1,3})?",
            takes="a comma-separated list of auto, cpu, mps, cuda, cuda:N",
        ),
    ] = ("auto",)
    replicas: Annotated[
        int | None,
        About("Workers (model replicas) per device; auto: one on a GPU, one per core on a CPU while the weights fit.", ge=1, le=256),
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "float8", "int8"],
        About(
            "Number format; auto: bfloat16 on a GPU that has it, float16 on an older one, float32 elsewhere. "
            "float8: bfloat16 with float8 products, on GPUs of compute capability 8.9 or newer. "
            "int8: int8 products, on CPUs with AVX-512 VNNI, or with AVX2 and our own C; BERT-like encoders only; never chosen by auto."
        ),
    ] = "auto"
    use_fp16: Annotated[bool, About("With DTYPE auto: float16 on GPUs. No effect on a CPU.", alias="USE_FP16")] = False
    compile_blocks: Annotated[
        Literal["auto", "on", "off"],
        About("GPUs only: torch.compile over a model's layers; auto measures at start. Kept on disk for the next start."),
    ] = "auto"
    cuda_graphs: Annotated[bool, About("GPUs only: replay small batches as CUDA graphs.")] = True
    threads: Annotated[int | None, About("CPU threads of one worker; auto shares the cores among the workers.", ge=1, le=1024)] = None

    token_budget: Annotated[int | None, About("Tokens of one batch; auto measures the best at start.", ge=16, le=16_777_216)] = None
    batch_size: Annotated[int | None, About("Most pairs in one batch.", ge=1, le=65536, none="no limit")] = None
    queue_tokens: Annotated[
        int, About("Tokens that may wait or run per model before requests are refused (429).", ge=1024, le=1_073_741_824)
    ] = 4_194_304
    forward_limit: Annotated[float, About("Seconds one batch may take before its worker counts as hung.", gt=0, le=3600)] = 60.0

    max_length: Annotated[
        int, About("Tokens of one pair; longer documents are cut. At most the model's own limit.", alias="MAX_LENGTH", ge=8, le=1_048_576)
    ] = 512
    long_documents: Annotated[
        Literal["truncate", "chunk"],
        About("Documents over MAX_LENGTH: `truncate` cuts and reports it, `chunk` scores overlapping windows and takes the best."),
    ] = "truncate"
    max_documents: Annotated[int, About("Documents of one request.", ge=1, le=1_000_000)] = 2000
    max_body_bytes: Annotated[
        int,
        About(
            "Size of a request's body. While an HTTP process holds eight such, or 64M where that is more, others are refused (429).",
            ge=1024,
            le=1_073_741_824,
            kind="bytes",
        ),
    ] = 32 * 1024 * 1024
    request_timeout: Annotated[
        float, About("Seconds until a request is answered 504; caps a caller's X-Request-Timeout.", gt=0, le=3600)
    ] = 60.0
    token_cache_bytes: Annotated[
        int, About("Memory of each HTTP process for tokens of documents seen before; 0: none.", ge=0, le=68_719_476_736, kind="bytes")
    ] = 64 * 1024 * 1024

    score_cache_bytes: Annotated[
        int,
        About("Memory of each HTTP process for scores of pairs asked for before; 0: none.", ge=0, le=68_719_476_736, kind="bytes"),
    ] = 0
    score_cache_per_key: Annotated[bool, About("Keep the scores of one key's calls from another's.")] = False

    images: Annotated[
        bool, About("Rank image documents with models that read them; needs the extra `images`. Off, their vision part is not loaded.")
    ] = True
    image_hosts: Annotated[
        tuple[str, ...],
        About(
            "Hosts that image URLs may name; not set: image URLs are refused.",
            pattern=r"(\*|(\*\.)?[0-9A-Za-z_.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?",
            takes="a comma-separated list of host, *.domain or *, each with :port if not 80 or 443",
        ),
    ] = ()
    image_networks: Annotated[
        tuple[str, ...],
        About(
            "Addresses that are not public and may be fetched from all the same.",
            pattern=r"[0-9A-Fa-f:.]+/\d{1,3}",
            takes="a comma-separated list of networks (10.1.0.0/16)",
        ),
    ] = ()
    image_bytes: Annotated[int, About("Size of one image's file.", ge=1024, le=1_073_741_824, kind="bytes")] = 20 * 1024 * 1024
    image_pixels: Annotated[int, About("Width times height of one image.", ge=1024, le=1_000_000_000)] = 50_000_000
    image_timeout: Annotated[float, About("Seconds that fetching one image may take.", gt=0, le=600)] = 10.0
    image_queue_bytes: Annotated[
        int,
        About(
            "Memory of each HTTP process for images that wait or run (up to 5.5 MB each), above which requests are refused (429); as much "
            "shared memory, at most 256M, is reserved with each model that reads images.",
            ge=1_048_576,
            le=3_221_225_472,
            kind="bytes",
        ),
    ] = 512 * 1024 * 1024

    api_key: Annotated[
        tuple[str, ...],
        About(
            "Keys that callers must show, plain or as `sha256:HEX`; kept hashed.",
            kind="key",
            takes="a comma-separated list of keys, plain or as sha256: and 64 hex digits",
        ),
    ] = ()
    api_keys_file: Annotated[
        str | None, About("File with one key per line (`key` or `name: key`, plain or `sha256:HEX`); read again on SIGHUP.", none="none")
    ] = None
    rate_limit_requests: Annotated[
        float, About("Requests per second of one key (one address where no keys are set); 0: no limit.", ge=0, le=1e9)
    ] = 0.0
    rate_limit_tokens: Annotated[
        float, About("Tokens per second of one key (one address where no keys are set); 0: no limit.", ge=0, le=1e12)
    ] = 0.0

    log_level: Annotated[Literal["debug", "info", "warning", "error"], About("Least severe log line that is written.")] = "info"
    log_json: Annotated[bool, About("Log lines as JSON objects.")] = False
    log_text: Annotated[bool, About("Log queries and documents (debug level). They may be private.")] = False
    otlp_endpoint: Annotated[
        str | None,
        About(
            "Where OpenTelemetry traces of rerank calls are sent, over HTTP; needs the extra `otel`.",
            none="none",
            pattern=r"https?://\S+",
            takes="a URL (http://collector:4318)",
        ),
    ] = None
    metrics_auth: Annotated[bool, About("Ask for a key on /metrics too.")] = False
    metrics_per_key: Annotated[bool, About("Count requests and tokens per key; the label is the key's name or the start of its hash.")] = (
        False
    )

    drain_grace: Annotated[float, About("Seconds between readiness turning false and the listener closing.", ge=0, le=600)] = 0.0
    drain_timeout: Annotated[float, About("Seconds that requests in flight get to finish after that.", ge=0, le=3600)] = 30.0

    def scoring_dtype(self, device: str) -> str:
        """Return the dtype to ask a worker on `device` for, with USE_FP16 applied."""
        return "float16" if self.use_fp16 and self.dtype == "auto" and device.startswith("cuda") else self.dtype
