"""A client of a bitplan service for Python: synchronous, typed, without torch.

``Client(url, api_key=key)`` has a method for every operation of the service, named as ``/docs`` names it; requests and answers
are the documents of ``planner.schemas``, and errors those of ``planner.errors`` and ``sensitivity.errors``.
"""

from planner.client.client import Client
from planner.client.errors import ServiceError, UnreachableError, UnusableAnswerError
from planner.client.retries import Retries

__all__ = ["Client", "Retries", "ServiceError", "UnreachableError", "UnusableAnswerError"]
