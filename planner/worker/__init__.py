"""The worker process: the only place where jobs meet torch."""
