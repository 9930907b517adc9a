"""The engine of rerankd: a shared-memory queue between HTTP processes and model workers. No HTTP, environment or Prometheus here."""
