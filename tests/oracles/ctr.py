"""Click models in slow, obvious numpy, one candidate at a time, from given parameters and tables."""

from itertools import pairwise

import numpy as np

from jaxrec.ops.histories.memory import Gates, Weights
from tests.oracles import co_action as unit
from tests.oracles import memory as memories
from tests.oracles import recurrent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mlp(params, x, activation='prelu'):
    """Dense layers; between them PReLU with a slope a unit, or a sigmoid."""
    depth = 0
    while f'dense_{depth}' in params:
        x = x @ np.asarray(params[f'dense_{depth}']['kernel'], np.float64) + np.asarray(
            params[f'dense_{depth}']['bias']
        )
        depth += 1
        if f'dense_{depth}' in params:
            slope = np.asarray(params.get(f'slope_{depth - 1}', 0.0))
            x = sigmoid(x) if activation == 'sigmoid' else np.where(x >= 0, x, slope * x)
    return x


def target_attention(params, candidate, history, lengths, softmax):
    """The paper's net on [c, h, c - h, c * h], where c - h adds nothing that c and h do not span."""
    out = np.zeros_like(candidate, np.float64)
    first = np.concatenate([np.asarray(params[name], np.float64) for name in ('candidate', 'history', 'product')])
    for b, length in enumerate(lengths):
        for c in range(candidate.shape[1]):
            both = [np.concatenate([candidate[b, c], h, candidate[b, c] * h]) for h in history[b, :length]]
            weights = np.array(
                [mlp(params['score'], sigmoid(x @ first + np.asarray(params['bias'])), 'sigmoid')[0] for x in both]
            )
            if softmax and length:
                weights = np.exp(weights - weights.max()) / np.exp(weights - weights.max()).sum()
            for weight, h in zip(weights, history[b, :length], strict=True):
                out[b, c] += weight * h
    return out


def lr(params, tables, batch, features):
    """Bias and one weight an id; several values of a column count by their mean."""
    logits = np.full(batch['label'].shape, float(params['bias']))
    for (side, name), vocabulary in features.items():
        weights = np.asarray(tables[f'{vocabulary}_weight'])[:, 0]
        for b, c in np.ndindex(logits.shape):
            at = batch[f'{side}/{name}'][b] if side == 'user' else batch[f'{side}/{name}'][b, c]
            real = [i for i in np.atleast_1d(at) if i > 0]
            logits[b, c] += np.mean(weights[real]) if real else 0.0
    return logits


def dnn_inputs(tables, batch, b, c, pooling='sum'):
    """[user, sum or mean of the history's (item, category), candidate item, candidate category]."""
    item, category = np.asarray(tables['item'], np.float64), np.asarray(tables['category'], np.float64)
    total = np.zeros(item.shape[1] + category.shape[1])
    for slot in range(batch['history/length'][b]):
        total += np.r_[item[batch['history/item'][b, slot]], category[batch['history/category'][b, slot]]]
    total /= max(batch['history/length'][b], 1) if pooling == 'mean' else 1
    user = np.asarray(tables['user'], np.float64)[batch['user/user'][b]]
    return np.r_[user, total, item[batch['candidate/item'][b, c]], category[batch['candidate/category'][b, c]]]


def dnn(params, tables, batch):
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        logits[b, c] = mlp(params['head'], dnn_inputs(tables, batch, b, c))[0]
    return logits


def din_inputs(params, tables, batch, softmax=True):
    """The DNN's inputs, the interest in each candidate and its product with the candidate, [B, C, X]."""
    side = lambda name: np.concatenate(
        [np.asarray(tables[c], np.float64)[batch[f'{name}/{c}']] for c in ('item', 'category')], -1
    )
    candidate, lengths = side('candidate'), batch['history/length']
    interest = target_attention(params['attention'], candidate, side('history'), lengths, softmax)
    plain = [[dnn_inputs(tables, batch, b, c) for c in range(candidate.shape[1])] for b in range(len(lengths))]
    return np.concatenate([plain, interest, interest * candidate], -1)


def can(params, tables, batch, pairs, options, combination_independence=False, base=None):
    """The base's input and a co-action vector a pair; pairs: (candidate column, side, column, vocabulary).

    The base's input is the DNN's, or `base` [B, C, X].
    """
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        x = [dnn_inputs(tables, batch, b, c) if base is None else base[b, c]]
        used = {}  # numbers of each table's row that earlier pairs own
        for candidate, side, column, vocabulary in pairs:
            row = np.asarray(tables[f'{candidate}_induction'])[batch[f'candidate/{candidate}'][b, c]]
            other = batch[f'{side}/{column}'][b]
            ids = np.atleast_1d(other[c] if side == 'candidate' else other)
            inputs = np.asarray(tables[f'{vocabulary}_feed'])[ids]
            if combination_independence:
                networks = options['orders'] if options['order_independence'] else 1
                at = used.get(f'{candidate}_induction', 0)
                own = networks * sum((i + options['use_bias']) * o for i, o in pairwise(options['dims']))
                row, used[f'{candidate}_induction'] = row[at : at + own], at + own
                at = used.get(f'{vocabulary}_feed', 0)
                own = options['dims'][0]
                inputs, used[f'{vocabulary}_feed'] = inputs[:, at : at + own], at + own
            length = batch['history/length'][b] if side == 'history' else int(ids[0] > 0)
            x.append(unit.co_action(row[None, None], inputs[None], [length], **options)[0, 0])
        logits[b, c] = mlp(params['head'], np.concatenate(x))[0]
    return logits


def cartesian_inputs(tables, batch, names, pooling, b, c):
    """A vector a pair column: the rows of known pairs, pooled over the history where there is one."""
    vectors = []
    for name in names:
        table, ids = np.asarray(tables[name], np.float64), np.atleast_1d(batch[f'cartesian/{name}'][b, c])
        if batch[f'cartesian/{name}'].ndim == 3:
            ids = ids[: batch['history/length'][b]]
        total = sum((table[i] for i in ids if i > 1), np.zeros(table.shape[1]))
        vectors.append(total / max(len(ids), 1) if pooling == 'mean' else total)
    return np.concatenate(vectors)


def cartesian(params, tables, batch, names, pooling='sum'):
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        base = dnn_inputs(tables, batch, b, c, pooling)
        inputs = np.concatenate([base, cartesian_inputs(tables, batch, names, pooling, b, c)])
        logits[b, c] = mlp(params['head'], inputs)[0]
    return logits


def dien(params, tables, batch):
    """Logits, and the states of the extracting GRU [B, L, H], which the auxiliary loss reads."""
    base, lengths = params['base'], batch['history/length']
    side = lambda name: np.concatenate(
        [np.asarray(tables[c], np.float64)[batch[f'{name}/{c}']] for c in ('item', 'category')], -1
    )
    candidate, history = side('candidate'), side('history')
    everything = np.ones((len(lengths), 1, history.shape[1]))
    weights = lambda name: [base[name][key] for key in ('kernel', 'recurrent', 'bias')]
    states = recurrent.states(history, everything, lengths, *weights('extraction'))[:, 0]
    query = candidate @ np.asarray(base['query']['kernel'], np.float64)
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        relevance = [dien_relevance(base, query[b, c], state) for state in states[b, : lengths[b]]]
        attention = np.zeros((1, 1, history.shape[1]))
        attention[0, 0, : lengths[b]] = np.exp(relevance) / np.exp(relevance).sum()
        interest = recurrent.states(states[b : b + 1], attention, lengths[b : b + 1], *weights('evolution'))
        product = candidate[b, c] * history[b, : lengths[b]].sum(0)
        inputs = np.r_[dnn_inputs(tables, batch, b, c), product, interest[0, 0, -1]]
        logits[b, c] = mlp(params['head'], inputs)[0]
    return logits, states


def dien_relevance(base, query, state):
    """The net's score of one state, or the inner product where there is no net."""
    if 'attention' not in base:
        return query @ state
    net = base['attention']
    first = np.concatenate([np.asarray(net[name]) for name in ('candidate', 'history', 'product')])
    hidden = sigmoid(np.concatenate([query, state, query * state]) @ first + np.asarray(net['bias']))
    return mlp(net['score'], hidden, 'sigmoid')[0]


def mimn(params, tables, batch, moved=1):
    """Logits, and the memories (their six parts), of the short window."""
    base, lengths = params['base'], batch['history/length']
    own = {name: np.asarray(x, np.float64) for name, x in base['memory'].items()}
    gates = lambda name: Gates(*(own[f'{name}_{part}'] for part in ('kernel', 'recurrent', 'bias')))
    plain = [own[name] for name in ('heads', 'heads_bias', 'keys', 'initial')]
    weights = Weights(gates('controller'), *plain, own.get('balance'), gates('channel') if moved else None)
    side = lambda name: np.concatenate(
        [np.asarray(tables[c], np.float64)[batch[f'{name}/{c}']] for c in ('item', 'category')], -1
    )
    candidate, history = side('candidate'), side('history')
    mask = np.arange(history.shape[1]) < lengths[:, None]
    memory, _ = memories.memorise(history, mask, weights, moved)
    slots, channels = memory[2], memory[3]
    recalled = memories.recall(memory, candidate, weights)
    everyone = np.full(len(lengths), slots.shape[1])
    interest = target_attention(base['attention'], candidate, channels, everyone, True) if moved else None
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        x = [dnn_inputs(tables, batch, b, c), recalled[b, c], candidate[b, c] * slots[b].mean(0)]
        x += [interest[b, c]] if moved else []
        logits[b, c] = mlp(params['head'], np.concatenate(x))[0]
    return logits, memory
