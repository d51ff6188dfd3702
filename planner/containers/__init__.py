"""What a file of weights holds beside its tensors: headers, indices, tokenizers; in bytes, before anything is written."""

from planner.containers.port import AbstractContainer, ContainedModel
from planner.containers.registry import container_of

__all__ = ["AbstractContainer", "ContainedModel", "container_of"]
