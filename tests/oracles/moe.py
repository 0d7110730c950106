"""A mixture of experts one token and one choice at a time, with its gradients: slow, obvious, float64."""

import math

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def choices(x, router, top_k, bias=None):
    """The experts of one token, the best first, of equal scores the lower number; and its probabilities."""
    p = softmax(x @ router)
    score = p if bias is None else p + bias
    return sorted(range(len(p)), key=lambda e: (-score[e], e))[:top_k], p


def curve(name, z):
    """An activation and its derivative."""
    if name == 'relu':
        return np.maximum(z, 0), (z > 0).astype(float)
    if name == 'silu':
        s = 1 / (1 + np.exp(-z))
        return z * s, s + z * s * (1 - s)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))  # gelu
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2)


def network(x, up, down, activation):
    """One expert on one token, and a function from its output's gradient to those of x, up and down."""
    z = x @ up
    width = down.shape[0]
    if activation in ('swiglu', 'geglu'):
        a, b = z[:width], z[width:]
        h, slope = curve('silu' if activation == 'swiglu' else 'gelu', a)
        hidden = h * b
        of_z = lambda g: np.concatenate([g * b * slope, g * h])
    else:
        hidden, slope = curve(activation, z)
        of_z = lambda g: g * slope

    def pull(g):
        flowing = of_z(down @ g)
        return up @ flowing, np.outer(x, flowing), np.outer(hidden, g)

    return hidden @ down, pull


def moe_ffn(
    x, router, up, down, upstream, *, top_k, activation='swiglu', mask=None, bias=None, renormalise=False, slots=None
):
    """[value, dropped, load, balance loss, z loss], gradients of sum(value * upstream).

    With slots, first choices are seated before second ones, and tokens in their order.
    """
    x, router, up, down, upstream = (np.asarray(a, np.float64) for a in (x, router, up, down, upstream))
    real = np.ones(len(x), bool) if mask is None else np.asarray(mask) > 0
    picked = {t: choices(x[t], router, top_k, bias) for t in range(len(x)) if real[t]}
    experts = router.shape[1]
    taken, load, lost, seated = np.zeros(experts, int), np.zeros(experts), 0, []
    for rank in range(top_k):
        for t, (best, _) in picked.items():
            load[best[rank]] += 1
            if slots is not None and taken[best[rank]] >= slots:
                lost += 1
                continue
            taken[best[rank]] += 1
            seated.append((t, rank))
    value = np.zeros_like(x)
    of_x, of_router, of_up, of_down = (np.zeros_like(a) for a in (x, router, up, down))
    for t, rank in seated:
        best, p = picked[t]
        e, total = best[rank], sum(p[best])
        gate = p[e] / total if renormalise else p[e]
        out, pull = network(x[t], up[e], down[e], activation)
        value[t] += gate * out
        flow_x, flow_up, flow_down = pull(gate * upstream[t])
        of_x[t] += flow_x
        of_up[e] += flow_up
        of_down[e] += flow_down
        of_p = np.zeros(experts)
        if renormalise:
            of_p[best] -= p[e] / total**2
            of_p[e] += 1 / total
        else:
            of_p[e] = 1
        of_p *= out @ upstream[t]
        of_logits = p * (of_p - of_p @ p)
        of_router += np.outer(x[t], of_logits)
        of_x[t] += router @ of_logits
    count = max(1, len(picked))
    mean = sum((p for _, p in picked.values()), np.zeros(experts)) / count
    balance = experts * (load / max(1, load.sum())) @ mean
    z = sum(np.log(np.exp(x[t] @ router).sum()) ** 2 for t in picked) / count
    info = lost / max(1, load.sum()), load, balance, z
    return (value, *info), (of_x, of_router, of_up, of_down)
