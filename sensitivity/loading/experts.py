"""Routed experts as one linear per expert and projection, where transformers keeps them in fused 3-D parameters."""

from collections.abc import Callable
from typing import Final, cast

import torch
from torch import nn

from sensitivity.errors import UnknownArchitectureError

ROLES: Final = {
    "gate_proj": "gate_proj",
    "up_proj": "up_proj",
    "down_proj": "down_proj",
    "w1": "gate_proj",
    "w3": "up_proj",
    "w2": "down_proj",
}
"""Projection of an expert by the kind of its layer; Mixtral numbers them."""


class Expert(nn.Module):
    """One gated MLP: ``down(act(gate(x)) * up(x))``."""

    def __init__(self, gate_up: torch.Tensor, down: torch.Tensor, act_fn: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        gate, up = gate_up.chunk(2, dim=0)
        self.gate_proj = linear(gate)
        self.up_proj = linear(up)
        self.down_proj = linear(down)
        self.act_fn = act_fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens of shape (tokens, hidden), in and out."""
        return cast("torch.Tensor", self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x)))


class RoutedExperts(nn.ModuleList):
    """The experts of a block. An expert that no token is routed to is not called, so hooks on its linears see nothing."""

    def forward(self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
        """Weighted sum over the experts that each token is routed to.

        Args:
            hidden_states: tokens, shape (tokens, hidden).
            top_k_index: int64 experts of each token, shape (tokens, k).
            top_k_weights: their weights, shape (tokens, k).

        Returns:
            Shape (tokens, hidden).
        """
        result = torch.zeros_like(hidden_states)
        for index in sorted(set(top_k_index.flatten().tolist())):
            token, slot = torch.where(top_k_index == index)
            weighted = self[index](hidden_states[token]) * top_k_weights[token, slot, None]
            result.index_add_(0, token, weighted.to(result.dtype))
        return result


def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """A linear with this weight (out, in), and this bias; the memory is shared where ``weight`` is contiguous."""
    out_features, in_features = weight.shape
    module = nn.Linear(in_features, out_features, bias=bias is not None, device="meta")
    module.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return module


def unfuse(module: nn.Module) -> None:
    """Replace every module of fused experts below ``module`` by ``RoutedExperts``, without a copy of the weights.

    Raises:
        UnknownArchitectureError: experts that are stored transposed, interleaved, with a bias or without a gate.
    """
    fused = [
        (name, child) for name, child in module.named_modules() if isinstance(getattr(child, "gate_up_proj", None), nn.Parameter)
    ]
    for name, child in fused:
        _check_layout(name, child)
        gate_up, down = cast("nn.Parameter", child.gate_up_proj), cast("nn.Parameter", child.down_proj)
        act_fn = cast("Callable[[torch.Tensor], torch.Tensor]", child.act_fn)
        experts = RoutedExperts([Expert(gate_up[i], down[i], act_fn) for i in range(len(gate_up))])
        module.set_submodule(name, experts)


def _check_layout(name: str, fused: nn.Module) -> None:
    """The layout that ``Expert`` reads: gate above up, rows are outputs, no bias (attributes that transformers sets)."""
    wanted = {
        "is_concatenated": True,
        "is_transposed": False,
        "has_bias": False,
        "has_gate": True,
        "has_post_expert_norm": False,
    }
    for key, value in wanted.items():
        if getattr(fused, key, None) is not value:
            msg = f"the experts {name} have {key} = {getattr(fused, key, None)}; only plain gated experts can be measured"
            raise UnknownArchitectureError(msg)
