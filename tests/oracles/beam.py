"""Beam search with a trie of dicts, one beam at a time, and every session there is: slow, obvious."""

import itertools

import numpy as np


def dict_trie(codes):
    """{prefix: the codes that may follow it}; leaves are in the order of their codes."""
    following = {}
    for row in np.asarray(codes).tolist():
        for level in range(len(row)):
            following.setdefault(tuple(row[:level]), set()).add(row[level])
    return following


def leaves(codes):
    """Distinct IDs in order."""
    return sorted({tuple(row) for row in np.asarray(codes).tolist()})


def everything(sizes):
    """The catalogue of all IDs there can be."""
    return np.array(list(itertools.product(*map(range, sizes))))


def open_codes(following, sizes, prefix, taken):
    """Codes that may follow a prefix and lead to an ID that was not taken."""
    below = lambda path: (
        {path} if len(path) == len(sizes) else set().union(*(below((*path, c)) for c in following.get(path, ())))
    )
    return [c for c in sorted(following.get(prefix, ())) if below((*prefix, c)) - set(taken)]


def search(log_probs, catalogue, sizes, items, beams, distinct):
    """Beams of one example: [(score, codes)], best first.

    `log_probs(codes)` gives the row of the code that follows these, from first to last of the session.
    """
    following, levels = dict_trie(catalogue), len(sizes)
    live = [(np.float32(0), ())]
    for step in range(items * levels):
        grown = []
        for score, codes in live:
            done = step // levels * levels
            taken = [codes[i : i + levels] for i in range(0, done, levels)] if distinct else []
            row = log_probs(codes)
            for code in open_codes(following, sizes, codes[done:], taken):
                if row[code] > -np.inf:
                    grown.append((np.float32(score + np.float32(row[code])), (*codes, code)))
        # A stable sort: parents in order, then codes in order.
        live = sorted(grown, key=lambda beam: -beam[0])[:beams]
    return live


def enumerate_sessions(log_probs, catalogue, items, distinct):
    """Every session of the catalogue's IDs with its score in float64, best first."""
    found = []
    for session in itertools.product(leaves(catalogue), repeat=items):
        if distinct and len(set(session)) < items:
            continue
        codes = tuple(code for item in session for code in item)
        score = sum(float(log_probs(codes[:i])[codes[i]]) for i in range(len(codes)))
        found.append((score, codes))
    return sorted(found, key=lambda session: -session[0])
