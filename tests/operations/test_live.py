"""A live module is counted as torch counts it, and left as it is."""

from __future__ import annotations

import pytest
import torch

from weightguard.errors import ConfigurationError
from weightguard.operations import count


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = torch.nn.Embedding(100, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.head = torch.nn.Linear(16, 100, bias=False)
        self.head.weight = self.inputs.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.inputs(tokens))


def test_a_linear_layer_by_hand() -> None:
    found = count(torch.nn.Linear(8, 4), torch.zeros(3, 8))
    assert (found.parameters, found.forward_operations) == (8 * 4 + 4, 2 * 3 * 8 * 4)


def test_ties_count_once_and_multiply_still() -> None:
    module = Tied()
    before = module.inputs.weight.detach().clone()
    found = count(module, torch.zeros(1, 5, dtype=torch.long))
    assert found.parameters == 100 * 16 + 2 * 16
    assert found.buffers == 16 + 16 + 1
    assert found.forward_operations == 2 * 5 * 16 * 100
    assert module.inputs.weight.device.type == "cpu" and torch.equal(module.inputs.weight, before)
    assert module.head.weight is module.inputs.weight


def test_frozen_weights_are_parameters_that_are_not_trained() -> None:
    module = Tied()
    module.inputs.weight.requires_grad_(False)
    assert count(module, torch.zeros(1, 5, dtype=torch.long)).trainable == 2 * 16


def test_a_module_that_looks_at_its_inputs_is_refused_with_a_reason() -> None:
    class Looks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum().item()

    with pytest.raises(ConfigurationError, match="meta device"):
        count(Looks(), torch.ones(3))
