"""A small model, trained on the spot: the next character from the last few, by plain gradient descent in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightguard.demo.layouts import Tensor

Floats = npt.NDArray[np.float32]

TEXT = """
A gate that says yes to what it cannot read is a door. So this one counts what is there, bounds what it took, says what it
does not know, and leaves the decision to a rule that anyone can look up. Weights are numbers with a history: the numbers are
in the file, the history is not. How many there are, the header shows. How long they were trained, no header shows, so the
most that they can have taken is what counts until somebody who knows declares less and signs for it. A claim is not a proof,
a name is not a model, and a small file is not a small history. What is missing may have been large. What is renamed is still
what it was. What is whole and small bounds itself, and most of what is pushed on a working day is whole and small, so the
gate opens at once, and says why.
"""
_CONTEXT, _WIDTH, _HIDDEN, _BATCH, _RATE = 5, 12, 64, 128, 0.5


@dataclass(frozen=True, eq=False)
class Trained:
    """The tensors, their data end to end (F32, little-endian), and the loss in nats a character before and after."""

    tensors: tuple[Tensor, ...]
    data: bytes
    first_loss: float
    last_loss: float


def train(steps: int = 300) -> Trained:
    """A multilayer perceptron over character embeddings, the same from run to run."""
    text = " ".join(TEXT.split())
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text])
    inputs = np.lib.stride_tricks.sliding_window_view(codes[:-1], _CONTEXT)
    targets = codes[_CONTEXT:]
    random = np.random.default_rng(91)

    def matrix(rows: int, columns: int) -> Floats:
        return random.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(columns))

    weights = {
        "embedding.weight": matrix(len(letters), _WIDTH),
        "hidden.weight": matrix(_HIDDEN, _CONTEXT * _WIDTH),
        "hidden.bias": np.zeros(_HIDDEN, np.float32),
        "output.weight": matrix(len(letters), _HIDDEN),
        "output.bias": np.zeros(len(letters), np.float32),
    }
    first_loss, _ = _loss_and_gradients(weights, inputs, targets)
    for _ in range(steps):
        rows = random.integers(0, len(targets), _BATCH)
        _, gradients = _loss_and_gradients(weights, inputs[rows], targets[rows])
        for name, gradient in gradients.items():
            weights[name] -= _RATE * gradient
    last_loss, _ = _loss_and_gradients(weights, inputs, targets)
    tensors = tuple((name, "F32", w.shape) for name, w in weights.items())
    data = b"".join(w.astype("<f4").tobytes() for w in weights.values())
    return Trained(tensors, data, first_loss, last_loss)


def _loss_and_gradients(
    weights: dict[str, Floats], inputs: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> tuple[float, dict[str, Floats]]:
    """Mean cross-entropy in nats and its gradient for every weight."""
    n = len(targets)
    flat = weights["embedding.weight"][inputs].reshape(n, -1)
    hidden = np.tanh(flat @ weights["hidden.weight"].T + weights["hidden.bias"])
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    loss = float(-np.log(shares[np.arange(n), targets]).mean())
    d_logits = shares
    d_logits[np.arange(n), targets] -= 1
    d_logits /= n
    d_hidden = d_logits @ weights["output.weight"] * (1 - hidden**2)
    d_embedding = np.zeros_like(weights["embedding.weight"])
    np.add.at(d_embedding, inputs, (d_hidden @ weights["hidden.weight"]).reshape(n, _CONTEXT, _WIDTH))
    return loss, {
        "embedding.weight": d_embedding,
        "hidden.weight": d_hidden.T @ flat,
        "hidden.bias": d_hidden.sum(axis=0),
        "output.weight": d_logits.T @ hidden,
        "output.bias": d_logits.sum(axis=0),
    }
