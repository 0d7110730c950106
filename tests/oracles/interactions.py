"""Feature interactions one pair of fields at a time, and gradients by differences: slow, obvious, float64."""

import numpy as np


def pairs(request, candidate):
    """The pairs (i, j) in the order of the ops: within the request, across, within the candidate."""
    first, last = range(request), range(request, request + candidate)
    within = lambda fields: [(i, j) for i in fields for j in fields if i < j]
    return [*within(first), *[(i, j) for i in first for j in last], *within(last)]


def each(request, candidate, function):
    """function(fields of one candidate, request first) for every request and candidate, [B, C, ...]."""
    request, candidate = np.asarray(request, np.float64), np.asarray(candidate, np.float64)
    return np.array([[function([*request[b], *theirs]) for theirs in candidate[b]] for b in range(len(request))])


def pairwise_inner(request, candidate):
    order = pairs(request.shape[1], candidate.shape[2])
    return each(request, candidate, lambda x: [sum(x[i] * x[j]) for i, j in order])


def fm_second_order(request, candidate):
    order = pairs(request.shape[1], candidate.shape[2])
    return each(request, candidate, lambda x: sum(sum(x[i] * x[j]) for i, j in order))


def outer_product(request, candidate):
    """Entry (d, e) sums the products of number d of any field with number e of any field."""
    dims = range(request.shape[-1])
    entry = lambda x, d, e: sum(first[d] * second[e] for first in x for second in x)
    return each(request, candidate, lambda x: [entry(x, d, e) for d in dims for e in dims])


def field_aware_inner(request, candidate):
    order = pairs(request.shape[1], candidate.shape[2])
    return each(request, candidate, lambda x: [sum(x[i][j] * x[j][i]) for i, j in order])


def cin_layer(hidden, base, kernel):
    """Maps of one candidate: each the weighted sum of all products of a hidden map and a field."""
    return [
        sum(
            kernel[h, f, o] * hidden[h] * base[f] for h in range(len(hidden)) for f in range(len(base))
        )
        for o in range(kernel.shape[2])
    ]  # fmt: skip


def cin(request, candidate, *kernels, split=False):
    def one(base):
        hidden, pooled = base, []
        for depth, kernel in enumerate(kernels):
            maps = cin_layer(hidden, base, kernel)
            half = len(maps) // 2 if split and depth < len(kernels) - 1 else 0
            hidden = maps[:half] if half else maps
            pooled += [sum(values) for values in maps[half:]]
        return pooled

    return each(request, candidate, one)


def gradients(function, arguments, upstream, step=1e-4):
    """The slope of sum(function * upstream) along every number of every argument, by central differences."""
    arguments = [np.array(x, np.float64) for x in arguments]
    found = []
    for x in arguments:
        slope = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            kept, ends = x[at], []
            for side in (step, -step):
                x[at] = kept + side
                ends.append((function(*arguments) * upstream).sum())
            x[at] = kept
            slope[at] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope)
    return found


def read_fields(tables, batch, suffix='', pooling='sum'):
    """Rows of the fields user, history item, history category, candidate item, candidate category."""
    table = lambda name: np.asarray(tables[f'{name}{suffix}'], np.float64)
    request, candidate = [], []
    for b, length in enumerate(batch['history/length']):
        fields = [table('user')[batch['user/user'][b]]]
        for name in ('item', 'category'):
            pooled = sum((table(name)[i] for i in batch[f'history/{name}'][b, :length]), 0 * table(name)[0])
            fields.append(pooled / max(length, 1) if pooling == 'mean' else pooled)
        request.append(fields)
        candidate.append([
            [table(name)[batch[f'candidate/{name}'][b, c]] for name in ('item', 'category')]
            for c in range(batch['label'].shape[1])
        ])  # fmt: skip
    return request, candidate


def read_aware(tables, batch, dim, pooling='sum'):
    """The same, a vector for each of the five fields; nobody shares the user's table, so it holds four."""
    request, candidate = read_fields(tables, batch, '_aware', pooling)
    cut = lambda row: np.reshape(row, (-1, dim))
    request = [[np.r_[np.zeros((1, dim)), cut(user)], *map(cut, pooled)] for user, *pooled in request]
    return np.array(request), np.array([[list(map(cut, one)) for one in theirs] for theirs in candidate])


def linear(params, tables, batch, pooling='sum'):
    """A bias and the weights of the five fields."""
    request, candidate = read_fields(tables, batch, '_weight', pooling)
    return each(request, candidate, lambda x: float(params['bias']) + np.sum(x))
