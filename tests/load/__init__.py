"""Plans a second, and the slowest of them: real processes, real HTTP, a seeded stream of questions."""
