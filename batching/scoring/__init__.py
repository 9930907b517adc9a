"""The forward pass, from a pack to raw scores: the only importer of torch and transformers, and imported only inside a worker process."""
