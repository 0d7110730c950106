"""Slow, obvious numpy embedding tables: a loop over ids, dense rules row by row."""

import numpy as np


def lookup(table, ids):
    """Reads rows one id at a time; padding and out-of-range ids read zeros."""
    flat = [table[i] if 0 < i < len(table) else np.zeros(table.shape[1]) for i in np.ravel(ids)]
    return np.reshape(flat, (*np.shape(ids), table.shape[1]))


def summed(rows, dim, ids, grads):
    """Dense [V, D] gradient and the set of touched rows, over all features."""
    total, touched = np.zeros((rows, dim)), set()
    for feature, values in ids.items():
        for i, g in zip(np.ravel(values), np.reshape(grads[feature], (-1, dim)), strict=True):
            if 0 < i < rows:
                total[i] += g
                touched.add(int(i))
    return total, sorted(touched)


class RowAdagrad:
    def __init__(self, rows, lr, initial=0.0, eps=1e-8):
        self.sum, self.lr, self.eps = np.full(rows, initial), lr, eps

    def __call__(self, table, grad, touched, step):
        for i in touched:
            self.sum[i] += np.mean(grad[i] ** 2)
            table[i] -= self.lr * grad[i] / np.sqrt(self.sum[i] + self.eps)


class LazyAdam:
    """Dense moments every step; only touched rows move."""

    def __init__(self, rows, dim, lr, b1=0.9, b2=0.999, eps=1e-8):
        self.mean, self.square = np.zeros((rows, dim)), np.zeros((rows, dim))
        self.lr, self.b1, self.b2, self.eps = lr, b1, b2, eps

    def __call__(self, table, grad, touched, step):
        self.mean = self.b1 * self.mean + (1 - self.b1) * grad
        self.square = self.b2 * self.square + (1 - self.b2) * grad**2
        for i in touched:
            mean = self.mean[i] / (1 - self.b1**step)
            square = self.square[i] / (1 - self.b2**step)
            table[i] -= self.lr * mean / (np.sqrt(square) + self.eps)


class Sgd:
    def __init__(self, lr):
        self.lr = lr

    def __call__(self, table, grad, touched, step):
        table -= self.lr * grad
