"""In transformers: its shared Hub client replaced by the gated one, and a Trainer callback that does so and judges checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import transformers.utils.hub  # noqa: TID253 whoever loads this trains by it
from transformers import TrainerCallback  # noqa: TID253

from weightguard.gates.hub import GatedHfApi
from weightguard.policy import Policy


def guard_transformers(policy: Policy | str | None = None, declarations: Sequence[str] = ()) -> GatedHfApi:
    """Every upload of transformers from now on is judged first: `push_to_hub` of models and tokenizers, and the Trainer's.

    policy: a `Policy`, a policy file's path, or None for the built-in one. declarations: paths of training declarations that may
    clear; what lies beside the weights never does. Without either, those of an earlier call stay.
    """
    before = transformers.utils.hub._hf_api
    if policy is None and not declarations and isinstance(before, GatedHfApi):
        return before
    api = GatedHfApi(
        library_name="transformers",
        library_version=transformers.__version__,
        weightguard_policy=policy,
        weightguard_declarations=declarations,
    )
    transformers.utils.hub._hf_api = api
    return api


class WeightguardCallback(TrainerCallback):  # type: ignore[misc]
    """Add it to a Trainer with `push_to_hub=True`. Arguments as for `guard_transformers`, which it calls.

    `on_push_begin` comes before the copy and the upload: a checkpoint that must not leave raises `Blocked` there. The last push
    saves its model after that, and is judged by the gated client.
    """

    def __init__(self, policy: Policy | str | None = None, declarations: Sequence[str] = ()) -> None:
        self._api = guard_transformers(policy, declarations)

    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Judge the checkpoint of this step, if there is one."""
        checkpoint = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        if os.path.isdir(checkpoint):
            self._api.check([checkpoint])
