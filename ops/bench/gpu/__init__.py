"""The GPU's figures on a CUDA machine without a network: `python3 -m ops.bench.gpu`. Needs torch, transformers, msgspec and rich."""
