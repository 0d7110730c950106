"""MIMN's memory one example, one behaviour and one slot at a time: slow, obvious, float64.

Gradients are slopes: what no gradient goes through is written down at one place (`held`) and kept there while
the arguments move.
"""

import numpy as np

from tests.oracles.recurrent import sigmoid, step


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def address(key, strength, slots, keys):
    """Weights [M]: each slot's two cosines with the key, sharpened."""
    sharp = 2 * (1 + np.log1p(np.exp(strength)))
    length = lambda x: np.sqrt((x**2).sum() + 1e-8)
    scores = []
    for slot, own in zip(slots, keys, strict=True):
        both = key @ slot / length(key) / length(slot) + key @ own / length(key) / length(own)
        scores.append(sharp * both / 2)
    return softmax(np.array(scores))


def heads(state, weights, size):
    """Read key, write key, erase, add, and the two strengths."""
    out = state @ weights.heads + weights.heads_bias
    read, write, erase, add = (out[i * size : (i + 1) * size] for i in range(4))
    return np.tanh(read), np.tanh(write), sigmoid(erase), np.tanh(add), out[4 * size], out[4 * size + 1]


def start(weights):
    """(controller's state, last reading, slots, channels, usage, count) of one example."""
    (slots, size), hidden = weights.initial.shape, weights.controller.bias.shape[-1]
    return (
        np.zeros(hidden),
        np.zeros(size),
        np.array(weights.initial, np.float64),
        np.zeros((slots, size)),
        np.zeros(slots),
        0.0,
    )


def write(memory, x, weights, moved, held):
    """The memory after one behaviour; held: (slots, write weights, mean usage) that get no gradient."""
    state, reading, slots, channels, usage, count = memory
    size = len(x)
    gru = lambda gates: (gates.kernel, gates.recurrent, gates.bias)
    state, _ = step(state, np.concatenate([x, reading]), 1.0, gru(weights.controller))
    read_key, write_key, erase, add, read_strength, write_strength = heads(state, weights, size)
    read = address(read_key, read_strength, slots, weights.keys)
    wrote = address(write_key, write_strength, slots, weights.keys)
    seen = (slots, wrote, usage / max(count, 1))
    held = seen if held is None else held
    reading = sum(read[i] * slots[i] for i in range(len(slots)))
    if weights.channel is not None:
        channels = channels.copy()
        for i in np.argsort(-read, kind='stable')[:moved]:
            told = np.concatenate([x, held[0][i]])
            channels[i], _ = step(channels[i], told, 1.0, gru(weights.channel))
    share = np.ones(len(slots)) if weights.balance is None else softmax(weights.balance @ held[2])
    after = np.zeros_like(slots)
    for i in range(len(slots)):
        after[i] = slots[i] * (1 - wrote[i] * share[i] * erase) + wrote[i] * share[i] * add
    return (state, reading, after, channels, usage + held[1] * share, count + 1), seen


def memorise(inputs, mask, weights, moved=1, held=None):
    """The six parts of the memories, stacked over the examples, and what no gradient goes through."""
    memories, seen = [], {}
    for b in range(len(inputs)):
        memory = start(weights)
        for t in range(inputs.shape[1]):
            if mask[b, t]:
                memory, seen[b, t] = write(memory, inputs[b, t], weights, moved, None if held is None else held[b, t])
        memories.append(memory)
    return [np.stack(part) for part in zip(*memories, strict=True)], seen


def recall(memory, candidate, weights):
    """[B, C, H + D]: the controller's state after a candidate, and what it reads."""
    out = np.zeros((*candidate.shape[:2], weights.controller.bias.shape[-1] + candidate.shape[-1]))
    for b, c in np.ndindex(candidate.shape[:2]):
        state, reading, slots = (part[b] for part in memory[:3])
        gates = weights.controller
        told = np.concatenate([candidate[b, c], reading])
        state, _ = step(state, told, 1.0, (gates.kernel, gates.recurrent, gates.bias))
        key, _, _, _, strength, _ = heads(state, weights, candidate.shape[-1])
        found = address(key, strength, slots, weights.keys)
        out[b, c] = np.concatenate([state, found @ slots])
    return out


def utilisation_loss(usage, count, counts):
    """Squared deviations of each example's mean usage, summed over slots, averaged over examples."""
    losses = []
    for b in range(len(usage)):
        if counts[b] and count[b]:
            mean = usage[b] / count[b]
            losses.append(((mean - mean.mean()) ** 2).sum())
    return float(np.mean(losses)) if losses else 0.0
