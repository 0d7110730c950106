"""SIM's searches and attention, one candidate and one behaviour at a time: slow, obvious numpy.

Eq. 1-4 of arXiv 2006.05639, the Hamming search of arXiv 2108.04468, the collisions of arXiv 2205.10249 and
the attention of arXiv 2302.02352.
"""

import numpy as np

from tests.oracles import ctr


def hard(history, candidate, lengths, keep):
    """[b][c] positions, oldest first: the K best by match * L + recency, of matches; 0 matches nothing."""
    size = history.shape[1]
    match = lambda b, c, at: history[b, at] == candidate[b, c] != 0
    score = lambda b, c, at: match(b, c, at) * size + at
    found = [
        [sorted(range(lengths[b]), key=lambda at, b=b, c=c: -score(b, c, at))[:keep] for c in range(len(row))]
        for b, row in enumerate(candidate)
    ]
    matching = lambda b, c, positions: sorted(at for at in positions if match(b, c, at))
    return [[matching(b, c, positions) for c, positions in enumerate(row)] for b, row in enumerate(found)]


def top(scores, lengths, keep):
    """[b][c] positions, best first, the newer first of equal scores."""
    best = lambda b, c: sorted(range(lengths[b]), key=lambda at: (-scores[b, c, at], -at))[:keep]
    return [[best(b, c) for c in range(scores.shape[1])] for b in range(len(scores))]


def inner(query, behaviours):
    """r_i = <query, e_i>, [B, C, L]."""
    out = np.zeros((*query.shape[:2], behaviours.shape[1]))
    for b, c, at in np.ndindex(out.shape):
        out[b, c, at] = sum(query[b, c] * behaviours[b, at])
    return out


def score_pool(scores, lengths, behaviours, softmax=False):
    """U_r = sum of r_i e_i over the real behaviours."""
    out = np.zeros((*scores.shape[:2], behaviours.shape[-1]))
    for b, c in np.ndindex(out.shape[:2]):
        weights = scores[b, c, : lengths[b]]
        weights = normalised(weights) if softmax and len(weights) else weights
        for weight, behaviour in zip(weights, behaviours[b], strict=False):
            out[b, c] += weight * behaviour
    return out


def normalised(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def attend(logits, behaviours):
    """Logits [H, K] and behaviours [K, D] to [H * D]: every head's sum of the behaviours themselves."""
    if not len(behaviours):
        return np.zeros(len(logits) * behaviours.shape[-1])
    return np.concatenate([sum(w * z for w, z in zip(normalised(row), behaviours, strict=True)) for row in logits])


def projected_logits(candidate, behaviours, of_candidate, of_behaviour):
    """<W_b z, W_a c> of each head, [H, K]."""
    heads = zip(np.asarray(of_candidate, np.float64), np.asarray(of_behaviour, np.float64), strict=True)
    return np.array([[(z @ w_b) @ (candidate @ w_a) for z in behaviours] for w_a, w_b in heads])


def bits(vectors, planes):
    """+1 or -1 of each vector and hyperplane."""
    return np.where(np.asarray(vectors, np.float64) @ np.asarray(planes, np.float64) > 0, 1, -1)


def hamming(candidate, behaviours, planes):
    """Minus the number of bits that differ, [B, C, L]."""
    ours, theirs = bits(candidate, planes), bits(behaviours, planes)
    out = np.zeros((*candidate.shape[:2], behaviours.shape[1]))
    for b, c, at in np.ndindex(out.shape):
        out[b, c, at] = -sum(ours[b, c] != theirs[b, at])
    return out


def sdim(candidate, behaviours, lengths, values, planes, group):
    """Per group: those whose bits all agree, summed and brought to length one; then averaged, [B, C, D]."""
    ours, theirs = bits(candidate, planes), bits(behaviours, planes)
    groups = planes.shape[1] // group
    out = np.zeros((*candidate.shape[:2], values.shape[-1]))
    for b, c in np.ndindex(out.shape[:2]):
        for g in range(groups):
            own, total = slice(g * group, (g + 1) * group), np.zeros(values.shape[-1])
            for at in range(lengths[b]):
                if all(ours[b, c, own] == theirs[b, at, own]):
                    total = total + values[b, at]
            out[b, c] += total / max(np.sqrt(sum(total**2)), 1e-300) / groups
    return out


def read_parts(tables, batch, side):
    """[..., 2 D]: item and category rows of a side."""
    return np.concatenate(
        [np.asarray(tables[name], np.float64)[batch[f'{side}/{name}']] for name in ('item', 'category')], -1
    )


def sim(params, tables, batch, options, planes=None):
    """Logits of the model on the DIN base (or none), and the pooled vectors of the search's loss or None."""
    candidate, past = read_parts(tables, batch, 'candidate'), read_parts(tables, batch, 'long')
    lengths, own = batch['long/length'], params.get('interest', {})
    gap = np.asarray(own['gaps']['embedding'], np.float64)[batch['long/gap']] if options['time_gap'] else past[..., :0]
    values = np.concatenate([past, gap], -1)
    kept, pooled = search(own, candidate, past, gap, batch, options, planes)
    interest = []
    for b, row in enumerate(kept):
        pick = lambda at, b=b: values[b, np.array(at, int)]
        interest.append([interest_of(own, candidate[b, c], pick(at), options) for c, at in enumerate(row)])
    if options['search'] == 'sdim':
        interest = sdim(candidate, past, lengths, values, planes, options['hash_group'])
    if options['short_model'] == 'din':
        base = ctr.din_inputs(params['base'], tables, batch)
    else:
        user = np.asarray(tables['user'], np.float64)[batch['user/user']]
        base = np.concatenate([np.repeat(user[:, None], candidate.shape[1], 1), candidate], -1)
    return ctr.mlp(params['head'], np.concatenate([base, np.array(interest)], -1))[..., 0], pooled


def search(own, candidate, past, gap, batch, options, planes):
    """[b][c] kept positions, and U_r where there is a loss."""
    lengths, keep, kind = batch['long/length'], options['keep'], options['search']
    if kind == 'hard':
        return hard(batch['long/category'], batch['candidate/category'], lengths, keep), None
    if kind in ('none', 'sdim'):
        return [[list(range(n))] * candidate.shape[1] for n in lengths], None
    if kind == 'soft':
        query = candidate
        if options['project']:
            w_a, w_b = (np.asarray(own['search'][name][0], np.float64) for name in ('of_candidate', 'of_behaviour'))
            query = candidate @ w_a @ w_b.T
        scores = inner(query, past)
        pooled = score_pool(scores, lengths, past, options['aux_softmax'])
        return top(scores, lengths, keep), pooled
    if kind == 'soft_shared':
        return top(inner(candidate, past / np.linalg.norm(past, axis=-1, keepdims=True)), lengths, keep), None
    if kind == 'simhash':
        return top(hamming(candidate, past, planes), lengths, keep), None
    scores = np.zeros((*candidate.shape[:2], past.shape[1]))
    for b, c in np.ndindex(scores.shape[:2]):
        scores[b, c] = twin_logits(own, candidate[b, c], past[b], gap[b], options).sum(0)
    return top(scores, lengths, keep), None


def twin_logits(own, candidate, keys, gap, options):
    """(K W)(q W)^T / sqrt(d) + (K_c W_c) beta, [H, K]."""
    logits = projected_logits(candidate, keys, own['of_candidate'], own['of_behaviour'])
    numbers = gap @ np.asarray(own['squeeze_0'], np.float64)
    return logits / np.sqrt(options['head_dim']) + np.asarray(own['beta'], np.float64)[:, :1] * numbers


def interest_of(own, candidate, kept, options):
    """The second stage for one candidate."""
    if options['search'] == 'twin':
        width = len(candidate)
        return attend(twin_logits(own, candidate, kept[:, :width], kept[:, width:], options), kept)
    if options['attention'] == 'mean' or options['search'] == 'sdim':
        return kept.mean(0) if len(kept) else np.zeros(kept.shape[1])
    if options['attention'] == 'mha':
        return attend(
            projected_logits(candidate, kept, *(own['attention'][f'of_{x}'] for x in ('candidate', 'behaviour'))), kept
        )
    wide = np.pad(candidate, (0, kept.shape[1] - len(candidate)))
    net = own['attention']['attention']
    return ctr.target_attention(net, wide[None, None], kept[None], [len(kept)], softmax=True)[0, 0]


def check_kept(kept, want, keep):
    """A search's positions and counts are an oracle's, oldest first, and what is not real is 0."""
    index, length = np.asarray(kept.index), np.asarray(kept.length)
    assert index.shape == (*length.shape, keep) and index.dtype == length.dtype == np.int32
    for b, c in np.ndindex(length.shape):
        assert index[b, c].tolist() == sorted(want[b][c]) + [0] * (keep - len(want[b][c]))
        assert length[b, c] == len(want[b][c])
