"""DIEN's auxiliary loss one pair at a time, and its gradient by the chain rule: slow, obvious, float64."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def score(x, layers):
    """The net's logit, and the input of each of its layers."""
    inputs = [x]
    for depth, (kernel, bias) in enumerate(layers):
        z = inputs[-1] @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
        inputs.append(z if depth == len(layers) - 1 else sigmoid(z))
    return inputs.pop()[0], inputs


def next_behaviour_loss(states, history, negative, mask, layers):
    """The mean of -log p(next) - log(1 - p(negative)), and its gradients in the order of the arguments."""
    pairs = [(b, slot) for b, slot in np.argwhere(mask > 0) if slot > 0]
    loss, width = 0.0, states.shape[-1]
    of = [np.zeros(x.shape) for x in (states, history, negative)]
    of_layers = [(np.zeros(kernel.shape), np.zeros(bias.shape)) for kernel, bias in layers]
    for b, slot in pairs:
        for which, behaviours, wanted in ((1, history, 1.0), (2, negative, 0.0)):
            x = np.concatenate([states[b, slot - 1], behaviours[b, slot]]).astype(np.float64)
            logit, inputs = score(x, layers)
            p = sigmoid(logit)
            loss -= np.log(p if wanted else 1 - p) / len(pairs)
            flowing = np.array([(p - wanted) / len(pairs)])
            for depth in reversed(range(len(layers))):
                of_layers[depth][0][:] += np.outer(inputs[depth], flowing)
                of_layers[depth][1][:] += flowing
                flowing = np.asarray(layers[depth][0], np.float64) @ flowing
                if depth:
                    flowing = flowing * inputs[depth] * (1 - inputs[depth])
            of[0][b, slot - 1] += flowing[:width]
            of[which][b, slot] += flowing[width:]
    return loss, (*of, of_layers)
