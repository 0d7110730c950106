"""OneRec's encoder-decoder, slowly: one request, one token, one head at a time, in float64.

n history items, m session items, L levels, X width, H heads, D width of a head, N layers, E experts.
"""

import numpy as np


def norm(x, scale, epsilon=1e-6):
    """x / root mean square, [X]."""
    return x / np.sqrt(np.mean(x * x) + epsilon) * scale


def softmax(x):
    """Over a vector."""
    e = np.exp(x - x.max())
    return e / e.sum()


def attend(weights, queries, memory):
    """Each query [X] attends to a list of vectors [X] of its own; returns as many [X]."""
    out = []
    for query, seen in zip(queries, memory, strict=True):
        total = np.zeros(len(query))
        for h in range(weights['query'].shape[1]):
            if not seen:
                continue
            q = query @ weights['query'][:, h]
            logits = np.asarray([q @ (x @ weights['key'][:, h]) for x in seen]) / np.sqrt(len(q))
            values = [x @ weights['value'][:, h] for x in seen]
            found = sum(w * v for w, v in zip(softmax(logits), values, strict=True))
            total += found @ weights['out'][h]
        out.append(total)
    return out


def activate(x, activation):
    """Of a vector."""
    if activation == 'relu':
        return np.maximum(x, 0)
    assert activation == 'swiglu'
    gate, passed = np.split(x, 2)
    return gate / (1 + np.exp(-gate)) * passed


def feed(weights, x, activation):
    """One vector through a feed-forward net."""
    return activate(x @ weights['up'], activation) @ weights['down']


def experts(layer, x, network, bias):
    """One vector through the experts that its router prefers; gates are not renormalised unless asked for."""
    scores = softmax(x @ layer['router'])
    chosen = np.argsort(-(scores + bias), kind='stable')[: network.active]
    total = scores[chosen].sum() if network.renormalise else 1.0
    of = lambda e: {name: w[e] for name, w in layer['feed'].items()}
    return sum(scores[e] / total * feed(of(e), x, network.activation) for e in chosen)


def layers(tree, number):
    """The weights of one layer, float64."""
    return {k: layers(v, number) if isinstance(v, dict) else np.asarray(v[number], np.float64) for k, v in tree.items()}


def tokens(params, items, special, positions):
    """Vectors of SEP or BOS and the codes of each item."""
    out = []
    for codes in items:
        out.append(np.asarray(params['special'][special], np.float64))
        out += [np.asarray(vector, np.float64) for vector in codes]
    return [x + np.asarray(positions[i], np.float64) for i, x in enumerate(out)]


def vectors(params, network, items):
    """Vectors of the codes of each item."""
    first = np.cumsum([0, *network.levels[:-1]])
    return [[params['codes'][first[level] + code] for level, code in enumerate(item)] for item in items]


def hidden(params, network, history, session, biases=None):
    """float64 [m, L, X]: what the codes of a session are predicted from, for one request."""
    xs = tokens(params, vectors(params, network, history), 0, params['history_positions'])
    for i in range(network.encoder_layers):
        w = layers(params['encoder'], i)
        normed = [norm(x, w['self_norm']) for x in xs]
        xs = [x + y for x, y in zip(xs, attend(w['self'], normed, [normed] * len(xs)), strict=True)]
        xs = [x + feed(w['feed'], norm(x, w['feed_norm']), network.activation) for x in xs]
    memory = [norm(x, np.asarray(params['encoder_norm'], np.float64)) for x in xs]
    ys = tokens(params, vectors(params, network, session), 1, params['session_positions'])
    for i in range(network.decoder_layers):
        w = layers(params['decoder'], i)
        bias = np.zeros(network.experts) if biases is None else biases[i]
        normed = [norm(y, w['self_norm']) for y in ys]
        seen = [normed[: at + 1] for at in range(len(ys))]
        ys = [y + z for y, z in zip(ys, attend(w['self'], normed, seen), strict=True)]
        crossed = attend(w['cross'], [norm(y, w['cross_norm']) for y in ys], [memory] * len(ys))
        ys = [y + z for y, z in zip(ys, crossed, strict=True)]
        passed = [norm(y, w['feed_norm']) for y in ys]
        if network.experts:
            ys = [y + experts(w, x, network, bias) for y, x in zip(ys, passed, strict=True)]
        else:
            ys = [y + feed(w['feed'], x, network.activation) for y, x in zip(ys, passed, strict=True)]
    out = np.asarray([norm(y, np.asarray(params['decoder_norm'], np.float64)) for y in ys])
    return out.reshape(len(session), network.tokens, -1)[:, :-1]
