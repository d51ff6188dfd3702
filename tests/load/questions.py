"""A seeded stream of planning questions: as a page with a slider, several users, and scripts ask them."""

import json
import random
from collections.abc import Sequence
from typing import Any

RUNTIMES = ("generic", "vllm")
USUAL_BITS = tuple(round(3.0 + 0.05 * step, 2) for step in range(90))
USUAL_SHARE = 0.5


def questions(model: str, *, count: int, seed: int, usual: float = USUAL_SHARE) -> list[str]:
    """Bodies of plan requests for two runtimes.

    Args:
        model: whose plans.
        count: of them.
        seed: of the draw.
        usual: share of budgets that others ask for as well (0.05 bits apart); the rest is nobody else's.
    """
    draw = random.Random(seed)
    return [json.dumps(_question(model, draw, usual)) for _ in range(count)]


def repeated_share(bodies: Sequence[str]) -> float:
    """Share of requests that were asked before, word for word."""
    return 1 - len(set(bodies)) / len(bodies) if bodies else 0.0


def _question(model: str, draw: random.Random, usual: float) -> dict[str, Any]:
    bits = draw.choice(USUAL_BITS) if draw.random() < usual else round(draw.uniform(2.9, 7.6), 6)
    return {"model": model, "runtime": draw.choice(RUNTIMES), "budget": {"effective_bits": bits}}
