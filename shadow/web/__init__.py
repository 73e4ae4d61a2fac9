"""The HTTP API of `shadow serve`, with FastAPI."""
