"""transformers' Trainer: `trainer_state.json`, `train_results.json`, `training_args.bin`.

total_flos is 6 x input tokens, padding too, x parameters without embeddings: no attention, every expert of a mixture, frozen weights
and the base of an adapter at full cost; under ZeRO-3 and FSDP it counts a rank's shard. num_input_tokens_seen is 0 unless it was
asked for. train_batch_size is a device's. Source: transformers, `trainer.py` (floating_point_ops, _maybe_log_save_evaluate).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.found import Found, Values, exactly, number, product

NAME = "transformers Trainer"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    yield from exactly(
        "training operations",
        number(values, "total_flos"),
        "total_flos",
        note="no attention; all experts; a shard under ZeRO-3",
    )
    seen = [key for key in values if key == "num_input_tokens_seen" or key.endswith(".num_input_tokens_seen")]
    most = max(seen, key=lambda key: number(values, key) or Fraction(0), default="")
    yield from exactly("training tokens", number(values, most), most)
    samples = product(number(values, "train_samples_per_second"), number(values, "train_runtime"))
    yield from exactly("training samples", samples, "train_samples_per_second", "train_runtime")
    if "total_flos" in values or "best_model_checkpoint" in values or "num_train_epochs" in values:
        yield from exactly("optimizer steps", number(values, "global_step"), "global_step")
    if "per_device_train_batch_size" in values:
        steps = number(values, "max_steps")
        batch = product(
            number(values, "per_device_train_batch_size"), number(values, "gradient_accumulation_steps") or Fraction(1)
        )
        yield from exactly(
            "training samples",
            product(steps, batch),
            "max_steps",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            note="of one device: times the number of devices",
        )
