"""A Gaussian process on the network's last hidden layer, in place of its last weights.

A stand-in for the paper's GP rows (after DUAL, KDD 2021), whose details its text leaves open: a deep kernel k(x, x') =
phi(x) . phi(x') / ridge, phi the last hidden layer and a 1, or random Fourier features of it for an RBF kernel (Rahimi
and Recht, 2007). The posterior of the logit is Laplace's: A = ridge I + sum p (1 - p) phi phi^T over what was shown,
with phi as it was then; the variance around the network's logit is phi^T A^-1 phi.

B requests, C candidates, H features.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.embeddings import Table
from jaxrec.models.age.pairs import Model, candidate_axes, with_candidates
from jaxrec.models.age.policies.neural import Greedy, check_form
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.training.task import Batch, Rows


@dataclasses.dataclass(frozen=True)
class GaussianProcess(Greedy):
    """Ranks by a posterior over the last layer."""

    form: str = 'ts'  # 'ts', one draw of the last layer for each request, or 'ucb'
    scale: float = 1.0  # of the posterior's standard deviation
    ridge: float = 1.0  # prior precision
    fourier: int = 0  # how many random Fourier features; 0 keeps the linear kernel of phi
    length: float = 1.0  # of the RBF kernel, in units of the norm of phi
    forget: float = 1.0  # what A keeps at each update, for features that drift as the network learns

    def __post_init__(self) -> None:
        check_form(self.form, self.scale)
        if self.ridge <= 0 or self.length <= 0 or not 0 < self.forget <= 1 or self.fourier < 0:
            raise ValueError(
                f'options.ridge = {self.ridge}, options.length = {self.length}, '
                f'options.forget = {self.forget}, options.fourier = {self.fourier}: '
                'give positive numbers, and forget in (0, 1]'
            )

    def start(self, tables: Mapping[str, Table], params: Any) -> dict[str, Any]:
        """The evidence A - ridge I, zeros."""
        size = self.fourier or _last_kernel(params).shape[0] + 1
        return {'evidence': jnp.zeros((size, size), jnp.float32)}

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        predicted, phi = model.predict(), self._features(model)
        size = phi.shape[-1]
        chol = jnp.linalg.cholesky(memory['evidence'] + self.ridge * jnp.eye(size))
        # |L^-1 phi| is the deviation, and (L^-1 phi) . z that of one draw of the last layer.
        whitened = jax.scipy.linalg.solve_triangular(chol, phi.reshape(-1, size).T, lower=True).T.reshape(phi.shape)
        if self.form == 'ucb':
            moved = jnp.sqrt(jnp.sum(whitened**2, -1))
        else:
            moved = jnp.einsum('bch,bh->bc', whitened, jax.random.normal(rng, (phi.shape[0], size)))
        logits = (predicted['logits'] + self.scale * moved).astype(jnp.float32)
        return Ranked(jax.nn.sigmoid(logits), predicted['probability'])

    def observe(self, model: Model, memory: dict[str, Any]) -> dict[str, Any]:
        """Adds p (1 - p) phi phi^T of what was shown."""
        p, phi = model.predict()['probability'], self._features(model)
        weight = p * (1 - p) * model.batch['valid']
        return {'evidence': self.forget * memory['evidence'] + jnp.einsum('bc,bch,bcg->hg', weight, phi, phi)}

    def _features(self, model: Model) -> jax.Array:
        """phi, or its Fourier features, float32 [B, C, H]."""
        phi = last_hidden(model)
        if not self.fourier:
            return jnp.concatenate([phi, jnp.ones_like(phi[..., :1])], -1)
        norm = jnp.sqrt(jnp.sum(phi**2, -1, keepdims=True))
        phi = phi / jnp.maximum(norm, 1e-6) / self.length
        rng = np.random.default_rng(0)  # the same kernel in every process
        waves = rng.normal(size=(phi.shape[-1], self.fourier)).astype(np.float32)
        phases = rng.uniform(0, 2 * np.pi, self.fourier).astype(np.float32)
        return np.float32(np.sqrt(2 / self.fourier)) * jnp.cos(phi @ waves + phases)


def last_hidden(model: Model) -> jax.Array:
    """The last hidden layer of each pair, float32 [B, C, H]: the gradient of its logit with respect to the last kernel.

    The model's head must end in one number, as `Mlp` does.
    """
    name, kernel = _last_layer(model.params), _last_kernel(model.params)

    def logit(kernel: jax.Array, rows: Rows, batch: Batch) -> jax.Array:
        head = {**model.params['head'], name: {**model.params['head'][name], 'kernel': kernel}}
        rows = {table: with_candidates(features) for table, features in rows.items()}
        params = {**model.params, 'head': head}
        return model.task.predict(params, model.model_state, rows, with_candidates(batch))['logits'][0, 0]

    def request(rows: Rows, batch: Batch) -> jax.Array:
        in_axes = (None, {table: candidate_axes(f, 1) for table, f in rows.items()}, candidate_axes(batch, 1))
        return jax.vmap(jax.grad(logit), in_axes)(kernel, rows, batch)[..., 0]  # [C, H]

    lone = lambda rows, batch: request(*jax.tree.map(lambda x: x[None], (rows, batch)))
    return jax.vmap(lone)(model.rows, dict(model.batch))


def _last_layer(params: Any) -> str:
    layers = [name for name in params.get('head', {}) if name.startswith('dense_')]
    if not layers:
        raise ValueError(
            f"the model has no MLP called 'head', only {sorted(params)}: a Gaussian process reads the last "
            'hidden layer of one, choose a model that has it'
        )
    return max(layers, key=lambda name: int(name.removeprefix('dense_')))


def _last_kernel(params: Any) -> jax.Array:
    return params['head'][_last_layer(params)]['kernel']
