"""AGE's exploration for one candidate at a time, and masks bit by bit: slow, obvious, float64.

Eq. 7-16 of arXiv 2112.11136, with the network f(h) = sigmoid(v . tanh(W^T h)) and its gradient by the chain
rule.
"""

import math

import numpy as np

WORD = 2**32


def mix32(x):
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) % WORD
    return x ^ (x >> 16)


def fold_words(words, number):
    salt = mix32((number + 1) % WORD)
    return [mix32(words[0] ^ salt), mix32(words[1] ^ mix32(salt))]


def keep_mask(words, layer, size, rate):
    """Flat mask, one number after the other."""
    seeds = [mix32(word ^ layer) for word in words]
    bits = [mix32((mix32(i ^ seeds[0]) + seeds[1]) % WORD) for i in range(size)]
    return np.array([1 / (1 - rate) if b >= round(rate * WORD) else 0.0 for b in bits])


def predict_dropping(x, layers, slopes, masks):
    """An MLP whose hidden activations are multiplied by masks, one vector a hidden layer; x [n, D] -> [n]."""
    for (kernel, bias), slope, mask in zip(layers[:-1], slopes, masks, strict=True):
        z = x @ kernel + bias
        x = np.where(z >= 0, z, slope * z) * mask
    kernel, bias = layers[-1]
    return (x @ kernel + bias)[:, 0]


def predict(h, matrix, vector):
    return 1 / (1 + math.exp(-float(vector @ np.tanh(matrix.T @ h))))


def gradient(h, matrix, vector):
    """Of the logit; that of the probability has the same direction."""
    return matrix @ (vector * (1 - np.tanh(matrix.T @ h) ** 2))


def unit(g):
    norm = math.sqrt(float((g**2).sum()))
    return g / norm if norm > 0 else np.zeros_like(g)


def direction(h, matrix, vector, size, steps):
    """T steps of equal size along the unit gradient of where one is, and their normalised sum."""
    total = np.zeros_like(h)
    for _ in range(steps):
        total = total + unit(gradient(h + size / steps * total, matrix, vector))
    return unit(total)


def thompson(base, sample, signed):
    out = np.zeros_like(base)
    for b, c in np.ndindex(base.shape):
        delta = sample[b, c] - base[b, c]
        out[b, c] = delta if signed else abs(delta)
    return out


def ucb(base, samples, spread, centre):
    out = np.zeros_like(base)
    for b, c in np.ndindex(base.shape):
        values = [s[b, c] for s in samples]
        middle = base[b, c] if centre == 'base' else sum(values) / len(values)
        variance = sum((v - middle) ** 2 for v in values) / len(values)
        out[b, c] = variance if spread == 'var' else math.sqrt(variance)
    return out
