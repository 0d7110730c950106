"""Slow, obvious versions of what is told of sessions: labels, filters, histories, and the world's truth."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def view_logits(world, truth, user, items):
    """One session, item by item, each looking back on all before it."""
    logits = []
    for place, item in enumerate(items):
        logit = world.bias + truth.quality[item]
        logit += truth.taste[truth.user_group[user], truth.group[item]]
        for category, strength in zip(truth.interest[user], truth.strength[user], strict=True):
            if category == truth.category[item]:
                logit += strength
        if world.longest > world.shortest:
            logit -= world.length_effect * (truth.length[item] - world.shortest) / (world.longest - world.shortest)
        logit -= world.coupling * world.fatigue * place
        for before in range(place):
            other = items[before]
            lift = truth.lifts[truth.group[other], truth.group[item]]
            logit += world.coupling * lift * world.memory ** (place - before - 1)
            if truth.category[other] == truth.category[item]:
                logit -= world.coupling * world.repeat_effect
            if other == item:
                logit -= world.coupling * world.again_effect
        logits.append(logit)
    return logits


def outcomes(world, truth, user, items):
    """Of each item: {seconds: chance}, and the chances of view, follow and like."""
    found = []
    for item, logit in zip(items, view_logits(world, truth, user, items), strict=True):
        view = sigmoid(logit)
        length = int(truth.length[item])
        least = math.ceil(world.view_share * length)
        seconds = {}
        for second in range(least):
            seconds[second] = seconds.get(second, 0) + (1 - view) / least
        for second in range(least, length + 1):
            seconds[second] = seconds.get(second, 0) + view * (1 - view) / (length - least + 1)
        seconds[length] = seconds.get(length, 0) + view * view
        like = sigmoid(world.like_bias + truth.charm[item] + world.like_effect * (logit - world.bias))
        follow = sigmoid(world.follow_bias + truth.appeal[item] + world.follow_effect * (logit - world.bias))
        found.append((seconds, view, view * follow, view * like))
    return found


def rewards(world, truth, user, items, labels):
    """The expected labels, by adding up all that can happen."""
    known = outcomes(world, truth, user, items)
    total = {0: 1.0}
    for seconds, *_ in known:
        after = {}
        for before, chance in total.items():
            for second, more in seconds.items():
                after[before + second] = after.get(before + second, 0) + chance * more
        total = after
    value = (
        (lambda t: float(t > labels.threshold)) if labels.swt == 'above' else (lambda t: min(1, t / labels.threshold))
    )
    expected = {'swt': sum(chance * value(second) for second, chance in total.items())}
    for head, place in (('vtr', 1), ('wtr', 2), ('ltr', 3)):
        number = {0: 1.0}
        for outcome in known:
            after = {}
            for before, chance in number.items():
                after[before + 1] = after.get(before + 1, 0) + chance * outcome[place]
                after[before] = after.get(before, 0) + chance * (1 - outcome[place])
            number = after
        expected[head] = sum(chance * responses(getattr(labels, head), n, len(items)) for n, chance in number.items())
    return expected


def responses(rule, number, size):
    """The label of a session in which so many of its items had a response."""
    return {'any': float(number > 0), 'most': float(number > size / 2), 'share': number / size}[rule]


def session_labels(labels, columns):
    """The labels of one session, {column: list}."""
    time = sum(columns['watch_time'])
    above = float(time > labels.threshold)
    found = {'swt': above if labels.swt == 'above' else min(1, time / labels.threshold)}
    for head, name in (('vtr', 'view'), ('wtr', 'follow'), ('ltr', 'like')):
        found[head] = responses(getattr(labels, head), sum(columns[name]), len(columns[name]))
    return found


def history(requests, user, time, any_of):
    """Positive items of one user, strictly earlier, oldest first; requests of dicts, by user and time."""
    found = []
    for request in requests:
        if request['user'] == user and request['time'] < time:
            for place, item in enumerate(request['item']):
                if any(request[name][place] for name in any_of):
                    found.append((item, request['watch_time'][place]))
    return found


def quality(request, watched=None, seconds=None, interactions=(), combine='all'):
    """Whether one session is kept."""
    met = []
    if watched is not None:
        met.append(sum(request['view']) >= watched)
    if seconds is not None:
        met.append(sum(request['watch_time']) > seconds)
    if interactions:
        met.append(any(sum(request[name]) for name in interactions))
    return not met or (all(met) if combine == 'all' else any(met))


def requests_of(log, extra=('watch_time', 'view', 'like', 'follow', 'share')):
    """The requests of a log as dicts of lists, ids as they are."""
    found = []
    for n in range(len(log)):
        begin, end = log.offsets[n], log.offsets[n + 1]
        request = {'user': int(log.events['user'][n]), 'time': log.events['time'][n]}
        for name in ('item', *(name for name in extra if name in log.shown)):
            request[name] = np.asarray(log.of_shown(name)[begin:end]).tolist()
        found.append(request)
    return found
