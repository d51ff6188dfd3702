"""A seeded stream of planning questions: as a page with a slider, several users, and scripts ask them."""

import json
import random
from collections.abc import Sequence
from typing import Any

RUNTIMES = ("generic", "vllm")
USUAL_BITS = tuple(round(3.0 + 0.05 * step, 2) for step in range(90))
USUAL_SHARE = 0.5


def questions(model: str, *, count: int, seed: int) -> list[str]:
    """Bodies of plan requests: half of the budgets are usual ones (0.05 bits apart), half are nobody else's; two runtimes."""
    draw = random.Random(seed)
    return [json.dumps(_question(model, draw)) for _ in range(count)]


def repeated_share(bodies: Sequence[str]) -> float:
    """Share of requests that were asked before, word for word."""
    return 1 - len(set(bodies)) / len(bodies) if bodies else 0.0


def _question(model: str, draw: random.Random) -> dict[str, Any]:
    usual = draw.random() < USUAL_SHARE
    bits = draw.choice(USUAL_BITS) if usual else round(draw.uniform(2.9, 7.6), 6)
    return {"model": model, "runtime": draw.choice(RUNTIMES), "budget": {"effective_bits": bits}}
