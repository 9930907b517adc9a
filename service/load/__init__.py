"""The load generator: requests of real words, callers who send them, and what came of it. Imports nothing of the rest of the service."""
