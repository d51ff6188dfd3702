"""A described checkpoint as a torch module in which every layer is one ``torch.nn.Linear``."""

from sensitivity.loading.model import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
