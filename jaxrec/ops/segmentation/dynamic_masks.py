"""Masks by a small network of each entity's own, whose weights are emitted (CondInst, arXiv 2003.05664).

B batch, K entities, H, W map, F mask features, C channels of a hidden layer, M emitted weights.
"""

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.segmentation.grids import enlarge_bilinear

Layer = tuple[jax.Array, jax.Array]
EXACT = jax.lax.Precision.HIGHEST  # float32 on accelerators too


def layer_sizes(features: int, channels: int = 8, layers: int = 3) -> tuple[tuple[int, int], ...]:
    """(out, in) of each layer; the first reads two coordinates and the features, the last has one output."""
    widths = [features + 2, *[channels] * (layers - 1), 1]
    return tuple((widths[i + 1], widths[i]) for i in range(layers))


def number_of_weights(features: int, channels: int = 8, layers: int = 3) -> int:
    """M: 169 of 8 features and 3 layers of 8 channels."""
    return sum(out * (into + 1) for out, into in layer_sizes(features, channels, layers))


def split_weights(emitted: jax.Array, features: int, channels: int = 8, layers: int = 3) -> list[Layer]:
    """Cuts emitted weights float [..., M] into layers: first the matrices of all layers, then their biases.

    Returns:
      (matrix [..., out, in], bias [..., out]) of each layer.

    Raises:
      ValueError: M is another number than features, channels and layers give.
    """
    sizes = layer_sizes(features, channels, layers)
    if emitted.shape[-1] != number_of_weights(features, channels, layers):
        raise ValueError(
            f'{emitted.shape[-1]} weights are emitted for mask networks of '
            f'{number_of_weights(features, channels, layers)}: {features} features, {layers} layers of '
            f'{channels} channels'
        )
    matrices, biases, at = [], [], 0
    for out, into in sizes:
        matrices.append(emitted[..., at : at + out * into].reshape(*emitted.shape[:-1], out, into))
        at += out * into
    for out, _ in sizes:
        biases.append(emitted[..., at : at + out])
        at += out
    return list(zip(matrices, biases, strict=True))


def dynamic_masks(
    features: jax.Array,
    emitted: jax.Array,
    cell: jax.Array,
    *,
    divisor: float,
    channels: int = 8,
    layers: int = 3,
    stride: int = 1,
) -> jax.Array:
    """Logits of every entity's network over every place of the mask features (CondInst).

    A place's input is (entity's cell - place) / divisor, row before column, and its features.

    Args:
      features: float [B, H, W, F].
      emitted: float [B, K, M]; a ValueError refuses an M that does not fit.
      cell: int32 or float [B, K, 2], where each entity is, in cells of the output map.
      divisor: cells that make a relative coordinate 1.
      channels, layers: of the mask network.
      stride: cells of the output map that a place of `features` covers.

    Returns:
      float [B, K, stride H, stride W], enlarged by `enlarge_bilinear`.
    """
    chex.assert_rank([features, emitted, cell], [4, 3, 3])
    batch, height, width, number = features.shape
    (first, bias), *rest = split_weights(emitted, number, channels, layers)
    line = lambda size: jnp.arange(size, dtype=jnp.float32) * stride + (stride - 1) / 2
    place = jnp.stack(jnp.meshgrid(line(height), line(width), indexing='ij'), -1) / divisor  # [H, W, 2]
    place, seen = place.reshape(-1, 2), features.reshape(batch, -1, number)
    # w (e - p) = w e - w p: what the entity's own place adds is the same everywhere, a matter of its bias,
    # and so one product over places that all entities share does for coordinates and features. Both products
    # are large where their difference is small: in float32 until one is taken from the other.
    of_place = first[..., :2].astype(jnp.float32)
    bias = bias + jnp.einsum('bkoc,bkc->bko', of_place, cell.astype(jnp.float32) / divisor, precision=EXACT)
    if features.dtype == jnp.float32:
        seen = jnp.concatenate([jnp.broadcast_to(-place, (batch, *place.shape)), seen], -1)
        x = jnp.einsum('bkoi,bpi->bkop', first, seen, precision=EXACT)
    else:  # a coordinate has more digits than features need
        x = jnp.einsum('bkoi,bpi->bkop', first[..., 2:], seen, preferred_element_type=jnp.float32)
        x = x - jnp.einsum('bkoc,pc->bkop', of_place, place, precision=EXACT)
    x = (x + bias[..., None]).astype(features.dtype)
    for matrix, bias in rest:
        x = jnp.einsum('bkoi,bkip->bkop', matrix, jax.nn.relu(x)) + bias[..., None]
    return enlarge_bilinear(x.reshape(batch, -1, height, width), stride)


def dice_loss(logits: jax.Array, target: jax.Array) -> jax.Array:
    """1 - 2 sum(x y) / (sum(x^2) + sum(y^2) + 1e-5), x the probabilities (V-Net, arXiv 1606.04797, eq. 3).

    `logits` and `target`, from 0 to 1, are [..., H, W]; the result is float32 [...].
    """
    chex.assert_equal_shape([logits, target])
    x, y = jax.nn.sigmoid(logits.astype(jnp.float32)), target.astype(jnp.float32)
    over = lambda z: jnp.sum(z, (-2, -1))
    return 1 - 2 * over(x * y) / (over(x**2) + over(y**2) + 1e-5)
