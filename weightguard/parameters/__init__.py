"""From stored tensors to logical parameters: what each tensor is (`roles`), unpacked (`packing`), ties once (`ties`)."""
