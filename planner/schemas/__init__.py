"""pydantic models at the edges: REST and `--json`."""
