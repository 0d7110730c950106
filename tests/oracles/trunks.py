"""Trunks and neck by their definitions, of one image, place by place, statistics as training leaves them.

H, W map, C channels.
"""

import itertools

import numpy as np

from tests.oracles.masks import enlarge_by_kernel, neighbourhood_max


def convolve(x, kernel, stride):
    """[H, W, C] and [k, k, C, width] -> [H / stride, W / stride, width], padded by half the kernel."""
    size = len(kernel)
    half = size // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)))
    rows, columns = range(0, x.shape[0], stride), range(0, x.shape[1], stride)
    found = np.zeros((len(rows), len(columns), kernel.shape[-1]))
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        found[i, j] = np.tensordot(padded[row : row + size, column : column + size], kernel, 3)
    return found


def conv_norm(params, stats, x, stride=1, active=True):
    y = convolve(x, params['conv']['kernel'], stride)
    norm, known = params['norm'], stats['norm']
    y = (y - known['mean']) / np.sqrt(known['var'] + 1e-5) * norm['scale'] + norm['bias']
    return np.maximum(y, 0) if active else y


def residual(params, stats, x, shortcut, stride, names):
    """Convolutions in a row, the last without ReLU, beside a shortcut; the stride is that of a 3 x 3."""
    y, strided = x, False
    for name in names:
        first = not strided and len(params[name]['conv']['kernel']) == 3
        strided |= first
        y = conv_norm(params[name], stats[name], y, stride if first else 1, active=name != names[-1])
    return np.maximum(y + shortcut, 0)


def squares(image, side):
    return np.array([[image[i : i + side, j : j + side].ravel() for j in range(0, image.shape[1], side)]
                     for i in range(0, image.shape[0], side)])  # fmt: skip


def resnet(params, stats, image, blocks, bottleneck, folded, stem=False, fine=False):
    names = ('conv1', 'conv2', 'conv3')[: 3 if bottleneck else 2]
    if folded and stem:
        x = squares(image, 2)
        for name in ('fine_0', 'fine_1'):
            x = conv_norm(params[name], stats[name], x)
        maps = [x] if fine else []
        x = conv_norm(params['stem'], stats['stem'], squares(x, 2))
    elif folded:
        maps, x = [], conv_norm(params['stem'], stats['stem'], squares(image, 4))
    else:
        x = conv_norm(params['stem'], stats['stem'], image, 2)
        maps, x = [x] if fine else [], neighbourhood_max(x[None], 2)[0]
    for stage, count in enumerate(blocks, 1):
        for i in range(count):
            own, known = params[f'layer{stage}_{i}'], stats[f'layer{stage}_{i}']
            stride = 2 if stage > 1 and i == 0 else 1
            shortcut = x
            if 'downsample' in own:
                shortcut = conv_norm(own['downsample'], known['downsample'], x, stride, active=False)
            x = residual(own, known, x, shortcut, stride, names)
        maps.append(x)
    return maps


def tree(params, stats, x, depth, stride, below):
    """Figure 3 of DLA: the root joins both ends of its tree and what is handed down to it."""
    if depth > 1:
        left = tree(params['tree1'], stats['tree1'], x, depth - 1, stride, [])
        return tree(params['tree2'], stats['tree2'], left, depth - 1, 1, [*below, left])
    shortcut = pooled(x) if stride == 2 else x
    if 'project' in params:
        shortcut = conv_norm(params['project'], stats['project'], shortcut, active=False)
    names = ('conv1', 'conv2')
    first = residual(params['tree1'], stats['tree1'], x, shortcut, stride, names)
    last = residual(params['tree2'], stats['tree2'], first, first, 1, names)
    return conv_norm(params['root'], stats['root'], np.concatenate([last, first, *below], -1))


def pooled(x):
    """The largest of each 2 x 2."""
    return np.max([x[i::2, j::2] for i in (0, 1) for j in (0, 1)], 0)


def dla(params, stats, image, depths, fine=False):
    x = conv_norm(params['base_layer'], stats['base_layer'], image)
    for level in (0, 1):
        for i in range(depths[level]):
            name = f'level{level}_{i}'
            x = conv_norm(params[name], stats[name], x, 2 if level == 1 and i == 0 else 1)
    maps = [x] if fine else []
    for level in range(2, len(depths)):
        name = f'level{level}'
        # Trees after the first also join their own, pooled input.
        x = tree(params[name], stats[name], x, depths[level], 2, [pooled(x)] if level > 2 else [])
        maps.append(x)
    return maps


def neck(params, stats, maps):
    """CenterNet's DLAUp: each round joins all coarser maps to one more; then the first of every round."""

    def join(own, known, layers, factors):
        layers = list(layers)
        for i, factor in enumerate(factors):
            if f'proj_{i}' in own:
                layers[i] = conv_norm(own[f'proj_{i}'], known[f'proj_{i}'], layers[i])
            if f'up_{i}' in own:
                assert len(own[f'up_{i}']['kernel']) == 2 * factor
                layers[i] = enlarge_by_kernel(layers[i][None], own[f'up_{i}']['kernel'])[0]
            if i:
                layers[i] = conv_norm(own[f'node_{i}'], known[f'node_{i}'], layers[i] + layers[i - 1])
        return layers

    maps, ends = list(maps), [maps[-1]]
    for number, start in enumerate(range(len(maps) - 2, -1, -1)):
        name = f'ida_{number}'
        factors = [1] + [2] * (len(maps) - 1 - start)
        maps[start:] = join(params[name], stats[name], maps[start:], factors)
        ends.insert(0, maps[-1])
    used = ends[:-1]
    last = 'ida_up'  # of two maps there is nothing left to join
    return join(params.get(last, {}), stats.get(last, {}), used, [2**i for i in range(len(used))])[-1]
