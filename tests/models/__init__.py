"""Scores against independent references: packed forward, heads, kernels, loading."""
