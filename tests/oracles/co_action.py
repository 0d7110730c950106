"""CAN's co-action unit one number at a time, and its gradient by the chain rule: slow, obvious, float64.

Eq. 5-9 of arXiv 2011.05625 for one candidate and one behaviour, eq. 11 for the orders, section 4.4 where each
has a network of its own, and the text below eq. 10 for the history: outputs are pooled, not inputs.
"""

import itertools

import numpy as np


def split(row, dims, use_bias):
    """Reads one induction row, layer by layer: the matrix in rows of the input, then its bias."""
    layers, at = [], 0
    for i, o in itertools.pairwise(dims):
        matrix = np.array([[row[at + a * o + b] for b in range(o)] for a in range(i)])
        at += i * o
        bias = np.array([row[at + b] for b in range(o)]) if use_bias else np.zeros(o)
        at += o if use_bias else 0
        layers.append((matrix, bias))
    assert at == len(row)
    return layers


def forward(row, x, dims, use_bias, activations):
    """h_0 = x, h_i = act(W h_{i-1} + b): every layer's output for one pair of ids."""
    hidden = [x]
    for depth, (matrix, bias) in enumerate(split(row, dims, use_bias)):
        z = np.array([sum(hidden[-1] * matrix[:, b]) + bias[b] for b in range(len(bias))])
        hidden.append({'none': z, 'tanh': np.tanh(z)}[activations[depth]])
    return hidden


def backward(row, hidden, upstream, dims, use_bias, activations):
    """Gradients of the row and of x, given those of every layer's output."""
    layers, pieces = split(row, dims, use_bias), []
    flowing = np.zeros(dims[-1])
    for depth in reversed(range(len(layers))):
        flowing = flowing + upstream[depth]
        g = flowing if activations[depth] == 'none' else flowing * (1 - hidden[depth + 1] ** 2)
        piece = [hidden[depth][a] * g[b] for a in range(dims[depth]) for b in range(dims[depth + 1])]
        pieces.append(piece + (list(g) if use_bias else []))
        flowing = layers[depth][0] @ g
    return np.concatenate(pieces[::-1]), flowing


def co_action(weights, inputs, lengths, *, dims, orders, use_bias, layer_output, order_reduce,
              last_activation, pooling, activation='tanh', order_independence=False,
              upstream=None):  # fmt: skip
    """The unit's output [B, C, *]; with `upstream` of that shape also the gradients of weights and inputs."""
    weights, inputs = np.asarray(weights, np.float64), np.asarray(inputs, np.float64)
    kept = range(len(dims) - 1) if layer_output == 'concat' else [len(dims) - 2]
    activations = [activation] * (len(dims) - 2) + [last_activation]
    width, own = sum(dims[k + 1] for k in kept), weights.shape[-1] // orders
    out = np.zeros((*weights.shape[:2], width * (orders if order_reduce == 'concat' else 1)))
    of_weights, of_inputs = np.zeros_like(weights), np.zeros_like(inputs)
    for b, length in enumerate(lengths):
        for c in range(weights.shape[1]):
            for behaviour in range(length):
                share = 1.0 if pooling == 'sum' else 1.0 / length
                for order in range(1, orders + 1):
                    x = inputs[b, behaviour]
                    place = slice(own * (order - 1), own * order) if order_independence else slice(None)
                    hidden = forward(weights[b, c, place], x**order, dims, use_bias, activations)
                    start = (order - 1) * width if order_reduce == 'concat' else 0
                    out[b, c, start : start + width] += share * np.concatenate([hidden[k + 1] for k in kept])
                    if upstream is None:
                        continue
                    above, at = [np.zeros(d) for d in dims[1:]], start
                    for k in kept:
                        above[k] = share * np.asarray(upstream, np.float64)[b, c, at : at + dims[k + 1]]
                        at += dims[k + 1]
                    row = weights[b, c, place]
                    g_row, g_power = backward(row, hidden, above, dims, use_bias, activations)
                    of_weights[b, c, place] += g_row
                    of_inputs[b, behaviour] += g_power * order * x ** (order - 1)
    return out if upstream is None else (out, of_weights, of_inputs)
