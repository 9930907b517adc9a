"""The front of rerankd: settings, dialects, the HTTP application, the supervisor, the command line and the client for callers."""
