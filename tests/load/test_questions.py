"""The stream of questions is the same for a seed, and has repeats and news."""

import json

from planner.schemas.plans import PlanRequest
from tests.load.generator import Measured
from tests.load.questions import RUNTIMES, questions, repeated_share


def test_the_stream_is_seeded_and_valid() -> None:
    asked = questions("toy", count=500, seed=3)
    assert asked == questions("toy", count=500, seed=3) != questions("toy", count=500, seed=4)
    found = [PlanRequest.model_validate_json(body) for body in asked]
    assert {request.runtime for request in found} == set(RUNTIMES)


def test_some_questions_are_repeated_and_most_are_not_at_once() -> None:
    asked = questions("toy", count=4000, seed=0)
    assert 0.3 < repeated_share(asked) < 0.6
    assert len({json.loads(body)["budget"]["effective_bits"] for body in asked}) > 1000
    assert repeated_share([]) == 0
    assert repeated_share(questions("toy", count=4000, seed=0, usual=0)) < 0.001


def test_figures_of_a_run() -> None:
    seen = Measured(requests=300, seconds=1.5, errors=0, median=10.2, p99=80.0, longest=91.4)
    assert seen.rate == 200
    assert str(seen) == "300 in 2 s = 200/s; median 10 ms, p99 80 ms, longest 91 ms; 0 errors"
