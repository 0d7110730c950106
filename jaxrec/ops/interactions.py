"""Feature interactions: inner, outer and field-aware products of fields, and compressed interaction.

A field is one feature as one vector, and functions take the fields of the request, float [B, R, D], and of the
candidate, [B, C, K, D]. Those of the request (user and pooled history) have no candidate axis: what they yield among
themselves is computed once a request and given to its candidates last. Fields are numbered request first; pairs have
the order request with request, request with candidate, candidate with candidate, inside each by the first field and
then the second.

B batch, C candidates, R request fields, K candidate fields, F = R + K, P = F (F - 1) / 2 pairs, D width.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp


def join_fields(request: jax.Array, candidate: jax.Array) -> jax.Array:
    """Gives every candidate all fields, float [B, C, F, D], for interactions that mix them from the start."""
    chex.assert_rank([request, candidate], [3, 4])
    return jnp.concatenate([_over_candidates(request, candidate), candidate], 2)


def fm_second_order(request: jax.Array, candidate: jax.Array) -> jax.Array:
    """The summed inner products [B, C] of all pairs, by half of (square of sum - sum of squares) (FM, ICDM 2010)."""
    chex.assert_rank([request, candidate], [3, 4])
    squares = (request**2).sum((1, 2))[:, None] + (candidate**2).sum((2, 3))
    return 0.5 * ((_sum_fields(request, candidate) ** 2).sum(-1) - squares)


def pairwise_inner(request: jax.Array, candidate: jax.Array) -> jax.Array:
    """The inner product [B, C, P] of every pair of fields (IPNN, arXiv 1611.00144)."""
    chex.assert_rank([request, candidate], [3, 4])
    return _pairs(
        jnp.einsum('bid,bjd->bij', request, request),
        jnp.einsum('bid,bcjd->bcij', request, candidate),
        jnp.einsum('bcid,bcjd->bcij', candidate, candidate),
    )


def outer_product(request: jax.Array, candidate: jax.Array) -> jax.Array:
    """The outer products of all fields with all, superposed, [B, C, D * D]: that of their sum (OPNN, 1611.00144)."""
    total = _sum_fields(request, candidate)
    product = total[..., :, None] * total[..., None, :]
    return product.reshape(*total.shape[:-1], total.shape[-1] ** 2)


def field_aware_inner(request: jax.Array, candidate: jax.Array) -> jax.Array:
    """For every pair the inner product [B, C, P] of what each field keeps for the other (FFM, RecSys 2016, eq. 4).

    Their sum is FFM's second-order term; one by one they are the products of ONN (arXiv 1904.12579).

    Args:
      request: float [B, R, F, D], [b, i, j] is the vector of field i for field j; those for i = j are unused.
      candidate: float [B, C, K, F, D], [b, c, i, j] the same of candidate field i, number R + i.
    """
    chex.assert_rank([request, candidate], [4, 5])
    chex.assert_axis_dimension(request, 2, request.shape[1] + candidate.shape[2])
    among, crossing = jnp.split(request, [request.shape[1]], 2)  # for the request's fields, the candidate's
    back, beside = jnp.split(candidate, [request.shape[1]], 3)
    return _pairs(
        (among * among.swapaxes(1, 2)).sum(-1),
        (crossing[:, None] * back.swapaxes(2, 3)).sum(-1),
        (beside * beside.swapaxes(2, 3)).sum(-1),
    )


def cin_shapes(fields: int, widths: Sequence[int], split: bool = False) -> list[tuple[int, int, int]]:
    """Shapes of the kernels of a compressed interaction network: for each layer (H of the layer before, F, its width).

    Args:
      fields: F.
      widths: feature maps of each layer.
      split: the first half of a layer's maps feeds the next, the second half the output (the authors' code).

    Raises:
      ValueError: no layer, a width below 1, or an odd width that is to be split.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f'cin = {tuple(widths)}: give at least one layer, each of 1 or more feature maps')
    if split and (odd := [width for width in widths[:-1] if width % 2]):
        raise ValueError(
            f'cin = {tuple(widths)}: {odd[0]} feature maps cannot be split in halves; give even widths in '
            'all layers but the last, or cin_split=False'
        )
    kept = [width // 2 if split else width for width in widths[:-1]]
    return [(before, fields, width) for before, width in zip([fields, *kept], widths, strict=True)]


def cin_layer(hidden: jax.Array, base: jax.Array, kernel: jax.Array) -> jax.Array:
    """One layer of compressed interaction (xDeepFM, arXiv 1803.05170, eq. 6), with maps and fields as last axes.

    Args:
      hidden, base: float [..., D, H] and [..., D, F], the maps of the layer before, and the fields.
      kernel: float [H, F, O].

    Returns:
      float [..., D, O]: map o is the sum of all hidden_h * base_f, weighted by kernel[h, f, o].
    """
    maps, fields, width = kernel.shape
    # Two axes: batched products are far slower on CPUs. The order of contraction is left to the sizes.
    rows = (hidden.reshape(-1, maps), base.reshape(-1, fields))
    return jnp.einsum('mh,mf,hfo->mo', *rows, kernel).reshape(*hidden.shape[:-1], width)


def cin(request: jax.Array, candidate: jax.Array, kernels: Sequence[jax.Array], split: bool = False) -> jax.Array:
    """Compressed interaction (xDeepFM): layer after layer of maps, each summed over its width.

    Args:
      request, candidate: the fields.
      kernels, split: float, of the shapes of `cin_shapes`, and its option.

    Returns:
      float [B, C, W], W all maps that feed the output, layer by layer.
    """
    base = join_fields(request, candidate).swapaxes(2, 3)  # [B, C, D, F]
    hidden, pooled = base, []
    for depth, kernel in enumerate(kernels):
        hidden = out = cin_layer(hidden, base, kernel)
        if split and depth < len(kernels) - 1:
            hidden, out = jnp.split(hidden, 2, -1)
        pooled.append(out.sum(-2))
    return jnp.concatenate(pooled, -1)


def _sum_fields(request: jax.Array, candidate: jax.Array) -> jax.Array:
    return request.sum(1)[:, None] + candidate.sum(2)


def _over_candidates(x: jax.Array, candidate: jax.Array) -> jax.Array:
    """[B, ...] as [B, C, ...]."""
    return jnp.broadcast_to(x[:, None], (x.shape[0], candidate.shape[1], *x.shape[1:]))


def _pairs(among: jax.Array, crossing: jax.Array, beside: jax.Array) -> jax.Array:
    """[B, R, R], [B, C, R, K] and [B, C, K, K] as [B, C, P]."""
    crossed = crossing.reshape(*crossing.shape[:2], -1)
    return jnp.concatenate([_over_candidates(_above_diagonal(among), crossing), crossed, _above_diagonal(beside)], -1)


def _above_diagonal(matrix: jax.Array) -> jax.Array:
    """[..., n, n] as [..., n (n - 1) / 2], by slices: a gather would cost a scatter in the gradient."""
    size = matrix.shape[-1]
    if size < 2:
        return matrix.reshape(*matrix.shape[:-2], size * size)[..., :0]
    return jnp.concatenate([matrix[..., i, i + 1 :] for i in range(size - 1)], -1)
