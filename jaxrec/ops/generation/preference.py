"""Losses that learn from pairs of sessions, a winner and its losers (OneRec, arXiv 2502.18965, eq. 10).

All read the log-probability of complete sessions: w of the winner and l of a loser under the learning model, rw and rl
under the reference. The gain over the reference is h = (w - rw) - (l - rl). With several losers the loss is the mean
over the pairs, except for S-DPO, which has one term for all of them.

B sessions, N losers, K sessions to choose pairs from, T tokens, V codes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

TIE = 1e-6  # rewards no further apart say nothing
KINDS = ('dpo', 'ipo', 'cdpo', 'rdpo', 'cpo', 'simpo', 'sdpo')
REFERENCE_FREE = ('cpo', 'simpo')


class Pairs(NamedTuple):
    """A winner and its losers among the sessions of each user."""

    winner: jax.Array  # int32 [B], its place
    losers: jax.Array  # int32 [B, N], worst first
    valid: jax.Array  # bool [B, N], whether the two are alive and no tie


def token_log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Log-probabilities float32 [...] of tokens int [...] under logits float [..., V].

    NaN for what is no token, such as the -1 of a dead beam.
    """
    logits = logits.astype(jnp.float32)
    tokens = jnp.where(tokens < 0, logits.shape[-1], tokens)  # negative ones would count from the end
    chosen = jnp.take_along_axis(logits, tokens[..., None], -1, mode='fill', fill_value=jnp.nan)[..., 0]
    return chosen - jax.nn.logsumexp(logits, -1)


def session_log_prob(token_log_probs: jax.Array, mask: jax.Array) -> jax.Array:
    """Sums a session's token log-probabilities [..., T] (section 3.4) where the mask [..., T] is not 0.

    BOS never counts. Returns float32 [...], without a gradient to the tokens that do not count, whatever they hold.
    """
    return jnp.sum(jnp.where(mask != 0, token_log_probs.astype(jnp.float32), 0), -1)


def choose_pairs(rewards: jax.Array, alive: jax.Array, losers: int = 1, *, tie: float = TIE) -> Pairs:
    """Picks the session of the highest reward and those of the lowest (Algorithm 2 takes one loser).

    Args:
      rewards: float [B, K].
      alive: bool [B, K], sessions that exist.
      losers: N, below K.
      tie: a pair whose rewards are no further apart is none.

    Returns:
      The pairs; of equal rewards the earlier session counts as the higher, and as the lower.

    Raises:
      ValueError: N out of range.
    """
    chex.assert_equal_shape([rewards, alive])
    if not 1 <= losers < rewards.shape[1]:
        raise ValueError(f'{losers} losers among {rewards.shape[1]} sessions: give 1 to all but one')
    winner = jnp.argmax(jnp.where(alive, rewards, -jnp.inf), -1)
    lowest, worst = jax.lax.top_k(jnp.where(alive, -rewards, -jnp.inf), losers)
    best = jnp.take_along_axis(rewards, winner[:, None], -1)
    valid = jnp.take_along_axis(alive, worst, -1) & (best + lowest > tie) & (worst != winner[:, None])
    return Pairs(winner.astype(jnp.int32), worst, valid)


def preference_loss(
    kind: str, winner: jax.Array, losers: jax.Array, reference_winner: jax.Array | None = None,
    reference_losers: jax.Array | None = None, *, beta: float, valid: jax.Array | None = None,
    lengths: tuple[jax.Array, jax.Array] | None = None, noise: float = 0.1, likelihood: float = 1.0,
    margin: float = 0.5,
) -> jax.Array:  # fmt: skip
    """Computes a loss by name, which pushes each loser down and the winner up.

    Args:
      kind: one of `KINDS`.
      winner: float [B], log-probability of the winning session under the learning model.
      losers: float [B, N], of the losing ones.
      reference_winner, reference_losers: float [B] and [B, N], under the reference; `cpo` and `simpo` need none.
      beta: above 0, how strongly distance from the reference is penalised.
      valid: bool [B, N], pairs that count, no ties; None for all.
      lengths: tokens of the winner [B] and of the losers [B, N], for `simpo` alone.
      noise: the share of labels taken to be wrong, for `cdpo` and `rdpo`, from 0 to below a half.
      likelihood: the weight of the winner's likelihood, for `cpo`; 1 in the paper.
      margin: by which a winner is to win, for `simpo`.

    Returns:
      float32 [B]; 0, without a gradient, where no pair counts.

    Raises:
      ValueError: an unknown kind, what it needs is absent, or a number out of range.
    """
    _check(kind, beta, noise, reference_winner, reference_losers, lengths)
    valid = jnp.ones(losers.shape, bool) if valid is None else valid
    of_winner, of_losers = lengths or (None, None)
    _check_shapes((winner, reference_winner, of_winner), (losers, reference_losers, of_losers, valid))
    # What does not count is replaced before any formula, so that no slope of it is ever NaN.
    some = jnp.any(valid, -1)
    won = jnp.where(some, winner, 0).astype(jnp.float32)[:, None]
    lost = jnp.where(valid, losers, 0).astype(jnp.float32)
    if lengths is not None and kind == 'simpo':
        won, lost = won / jnp.maximum(lengths[0][:, None], 1), lost / jnp.maximum(lengths[1], 1)
    gain = won - lost
    if reference_winner is not None and reference_losers is not None:  # as they are where they are read
        before = reference_winner.astype(jnp.float32)[:, None] - reference_losers.astype(jnp.float32)
        gain -= jax.lax.stop_gradient(jnp.where(valid, before, 0))
    if kind == 'sdpo':  # softmax DPO, -log sigmoid(-log sum_l exp(-beta h_l)), arXiv 2406.09215
        # log(1 + sum exp) in one stable sum: the winner is a term of exponent 0.
        return jax.nn.logsumexp(jnp.pad(jnp.where(valid, -beta * gain, -jnp.inf), [(0, 0), (1, 0)]), -1)
    losses = _pair_losses(kind, won, lost, gain, beta, noise, likelihood, margin)
    return jnp.sum(jnp.where(valid, losses, 0), -1) / jnp.maximum(jnp.sum(valid, -1), 1)


def _pair_losses(
    kind: str, won: jax.Array, lost: jax.Array, gain: jax.Array, beta: float, noise: float, likelihood: float,
    margin: float,
) -> jax.Array:  # fmt: skip
    """The losses [B, N] of pairs, of all kinds but `sdpo`; `gain` is h."""
    dpo = lambda h: jax.nn.softplus(-beta * h)  # -log sigmoid(beta h)
    if kind == 'dpo':  # direct preference optimisation, arXiv 2305.18290, eq. 7; OneRec's eq. 10
        return dpo(gain)
    if kind == 'ipo':  # identity preference optimisation, arXiv 2310.12036, eq. 17, tau = beta
        return jnp.square(gain - 1 / (2 * beta))
    if kind == 'cdpo':  # conservative DPO: labels smoothed (E. Mitchell, A note on DPO with noisy preferences, 2023)
        return (1 - noise) * dpo(gain) + noise * dpo(-gain)
    if kind == 'rdpo':  # robust DPO, arXiv 2403.00409: its mean over noisy labels is DPO's of the right ones
        return ((1 - noise) * dpo(gain) - noise * dpo(-gain)) / (1 - 2 * noise)
    if kind == 'cpo':  # contrastive preference optimisation, arXiv 2401.08417
        return dpo(won - lost) - likelihood * won
    return jax.nn.softplus(margin - beta * (won - lost))  # SimPO, arXiv 2405.14734, eq. 6; means over tokens


def _check_shapes(winners: Sequence[jax.Array | None], losers: Sequence[jax.Array | None]) -> None:
    """Refuses arrays that would broadcast: all winners are [B], all losers [B, N]."""
    given = [[x for x in arrays if x is not None] for arrays in (winners, losers)]
    chex.assert_rank([given[0][0], given[1][0]], [1, 2])
    for arrays in given:
        chex.assert_equal_shape(arrays)
    chex.assert_equal_shape_prefix([given[0][0], given[1][0]], 1)


def _check(
    kind: str, beta: float, noise: float, reference_winner: jax.Array | None, reference_losers: jax.Array | None,
    lengths: tuple[jax.Array, jax.Array] | None,
) -> None:  # fmt: skip
    if kind not in KINDS:
        raise ValueError(f'preference loss {kind!r}: give one of {", ".join(KINDS)}')
    if kind not in REFERENCE_FREE and (reference_winner is None or reference_losers is None):
        raise ValueError(
            f'{kind} compares with a reference: give reference_winner and reference_losers, '
            f'or take one of {", ".join(REFERENCE_FREE)}'
        )
    if kind == 'simpo' and lengths is None:
        raise ValueError('simpo reads means over tokens: give lengths, tokens of the winner and of the losers')
    if not beta > 0 or not 0 <= noise < 0.5:
        raise ValueError(f'beta {beta} and noise {noise}: beta is above 0, noise from 0 to below a half')
