"""GRU and AUGRU one step at a time, and back through time by the chain rule: slow, obvious, float64.

The GRU of arXiv 1809.03672, section 4.2, with section 4.3's attention on the update gate.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(state, x, attention, weights):
    """h_t and all that it was made of."""
    (of_input, of_state, bias) = weights
    reset = sigmoid(x @ of_input[0] + state @ of_state[0] + bias[0])
    update = sigmoid(x @ of_input[1] + state @ of_state[1] + bias[1])
    memory = state @ of_state[2]
    candidate = np.tanh(x @ of_input[2] + reset * memory + bias[2])
    scaled = attention * update
    return (1 - scaled) * state + scaled * candidate, (reset, update, memory, candidate)


def states(inputs, attention, lengths, kernel, recurrent, bias):
    """The state of each candidate after each slot, [B, C, L, H]; padding repeats the last real one."""
    weights = [np.asarray(x, np.float64) for x in (kernel, recurrent, bias)]
    out = np.zeros((*attention.shape, weights[1].shape[-1]))
    for b, c in np.ndindex(attention.shape[:2]):
        state = np.zeros(out.shape[-1])
        for slot in range(attention.shape[2]):
            if slot < lengths[b]:
                state, _ = step(state, inputs[b, slot], attention[b, c, slot], weights)
            out[b, c, slot] = state
    return out


def gradients(inputs, attention, lengths, kernel, recurrent, bias, upstream):
    """Gradients of sum(states * upstream) for inputs, attention, kernel, recurrent and bias."""
    inputs, attention = np.asarray(inputs, np.float64), np.asarray(attention, np.float64)
    weights = [np.asarray(x, np.float64) for x in (kernel, recurrent, bias)]
    kernel, recurrent, bias = weights
    of = [np.zeros_like(x) for x in (inputs, attention, *weights)]
    for b, c in np.ndindex(attention.shape[:2]):
        held, made = [np.zeros(recurrent.shape[-1])], []
        for slot in range(lengths[b]):
            state, parts = step(held[-1], inputs[b, slot], attention[b, c, slot], weights)
            held.append(state)
            made.append(parts)
        flowing = upstream[b, c, lengths[b] :].sum(0)  # padding hands its share to the last real state
        for slot in reversed(range(lengths[b])):
            flowing = flowing + upstream[b, c, slot]
            state, x, a = held[slot], inputs[b, slot], attention[b, c, slot]
            reset, update, memory, candidate = made[slot]
            of_candidate = flowing * a * update * (1 - candidate**2)
            of_update = flowing * (candidate - state) * a * update * (1 - update)
            of_reset = of_candidate * memory * reset * (1 - reset)
            of[1][b, c, slot] = (flowing * (candidate - state) * update).sum()
            flowing = flowing * (1 - a * update) + recurrent[2] @ (of_candidate * reset)
            for gate, g in enumerate((of_reset, of_update, of_candidate)):
                of[0][b, slot] += kernel[gate] @ g
                of[2][gate] += np.outer(x, g)
                of[3][gate] += np.outer(state, g * reset if gate == 2 else g)
                of[4][gate] += g
                if gate < 2:
                    flowing = flowing + recurrent[gate] @ g
    return of
