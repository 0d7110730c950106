"""Losses that learn from pairs of sessions, a winner and what lost to it (OneRec, arXiv 2502.18965, eq. 10).

All read the log-probability of whole sessions: w of the winner and l of a loser under the model that learns,
rw and rl under the reference. What it gained over the reference is h = (w - rw) - (l - rl). With several
losers the loss is the mean over the pairs, but for S-DPO, which has one term for all of them.

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
    """A winner and its losers among the sessions of each user.

    Attributes:
      winner: int32 [B], its place.
      losers: int32 [B, N], worst first.
      valid: bool [B, N], whether the two are alive and no tie.
    """

    winner: jax.Array
    losers: jax.Array
    valid: jax.Array


def token_log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """The log-probability of the tokens that were written.

    Args:
      logits: float [..., V].
      tokens: int [...].

    Returns:
      float32 [...]; NaN for what is no token, such as the -1 of a beam that died.
    """
    logits = logits.astype(jnp.float32)
    tokens = jnp.where(tokens < 0, logits.shape[-1], tokens)  # negative ones would count from the end
    chosen = jnp.take_along_axis(logits, tokens[..., None], -1, mode='fill', fill_value=jnp.nan)[..., 0]
    return chosen - jax.nn.logsumexp(logits, -1)


def session_log_prob(token_log_probs: jax.Array, mask: jax.Array) -> jax.Array:
    """Sums a session's tokens (section 3.4: the log-probability of S given u).

    Args:
      token_log_probs: float [..., T].
      mask: [..., T], not 0 for tokens that count; BOS never does.

    Returns:
      float32 [...], with no gradient to the tokens that do not count, whatever they hold.
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


def dpo_loss(gain: jax.Array, beta: float) -> jax.Array:
    """-log sigmoid(beta h), direct preference optimisation (arXiv 2305.18290, eq. 7; OneRec's eq. 10).

    Args:
      gain: float [...], h.
      beta: how dear distance from the reference is.

    Returns:
      float [...].
    """
    return jax.nn.softplus(-beta * gain)


def ipo_loss(gain: jax.Array, beta: float) -> jax.Array:
    """(h - 1 / (2 beta))^2, identity preference optimisation (arXiv 2310.12036, eq. 17, tau = beta).

    Args:
      gain: float [...], h.
      beta: as in `dpo_loss`; here it also says how far apart a pair is to be.

    Returns:
      float [...].
    """
    return jnp.square(gain - 1 / (2 * beta))


def cdpo_loss(gain: jax.Array, beta: float, noise: float) -> jax.Array:
    """-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h), conservative DPO (a note, no arXiv number).

    It is the DPO loss with the label smoothed: a share e of pairs is taken to be the wrong way round
    (E. Mitchell, A note on DPO with noisy preferences and relationship to IPO, 2023).

    Args:
      gain: float [...], h.
      beta: as in `dpo_loss`.
      noise: e, from 0 to below a half.

    Returns:
      float [...].
    """
    return (1 - noise) * dpo_loss(gain, beta) + noise * dpo_loss(-gain, beta)


def rdpo_loss(gain: jax.Array, beta: float, noise: float) -> jax.Array:
    """(-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e), robust DPO (arXiv 2403.00409).

    Its mean over labels of which a share e is wrong is the DPO loss of the right ones. It may be negative.

    Args:
      gain: float [...], h.
      beta: as in `dpo_loss`.
      noise: e, from 0 to below a half.

    Returns:
      float [...].
    """
    return ((1 - noise) * dpo_loss(gain, beta) - noise * dpo_loss(-gain, beta)) / (1 - 2 * noise)


def cpo_loss(winner: jax.Array, loser: jax.Array, beta: float, likelihood: float) -> jax.Array:
    """-log sigmoid(beta (w - l)) - c w, contrastive preference optimisation (arXiv 2401.08417).

    Args:
      winner: float [...], w.
      loser: float [...], l.
      beta: as in `dpo_loss`.
      likelihood: c, the weight of the winner's own likelihood; 1 in the paper.

    Returns:
      float [...].
    """
    return dpo_loss(winner - loser, beta) - likelihood * winner


def simpo_loss(winner: jax.Array, loser: jax.Array, beta: float, margin: float) -> jax.Array:
    """-log sigmoid(beta (w - l) - gamma) of means over tokens, SimPO (arXiv 2405.14734, eq. 6).

    Args:
      winner: float [...], w over the winner's tokens.
      loser: float [...], l over the loser's.
      beta: as in `dpo_loss`.
      margin: gamma, by how much a winner is to win.

    Returns:
      float [...].
    """
    return jax.nn.softplus(margin - beta * (winner - loser))


def sdpo_loss(gain: jax.Array, valid: jax.Array, beta: float) -> jax.Array:
    """-log sigmoid(-log sum_l exp(-beta h_l)), softmax DPO over the losers (arXiv 2406.09215).

    Args:
      gain: float [..., N], h of each loser.
      valid: bool [..., N], losers that count.
      beta: as in `dpo_loss`.

    Returns:
      float [...], 0 where none counts; `dpo_loss` where one does.
    """
    # log(1 + sum exp) in one stable sum: the winner is a term of exponent 0.
    terms = jnp.where(valid, -beta * gain, -jnp.inf)
    return jax.nn.logsumexp(jnp.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(1, 0)]), -1)


def preference_loss(
    kind: str,
    winner: jax.Array,
    losers: jax.Array,
    reference_winner: jax.Array | None = None,
    reference_losers: jax.Array | None = None,
    *,
    beta: float,
    valid: jax.Array | None = None,
    lengths: tuple[jax.Array, jax.Array] | None = None,
    noise: float = 0.1,
    likelihood: float = 1.0,
    margin: float = 0.5,
) -> jax.Array:
    """Any of the losses by name: each loser pushed down, the winner up.

    Args:
      kind: one of `KINDS`.
      winner: float [B], log-probability of the session that won, under the model that learns.
      losers: float [B, N], of those that lost.
      reference_winner: float [B], the same under the reference; `cpo` and `simpo` do without.
      reference_losers: float [B, N].
      beta: above 0.
      valid: bool [B, N], pairs that count, no ties; None for all.
      lengths: tokens of the winner [B] and of the losers [B, N], for `simpo` alone.
      noise: the share of labels taken to be wrong, for `cdpo` and `rdpo`.
      likelihood: the weight of the winner's likelihood, for `cpo`.
      margin: for `simpo`.

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
    if kind == 'sdpo':
        return sdpo_loss(gain, valid, beta)
    losses = {
        'dpo': lambda: dpo_loss(gain, beta),
        'ipo': lambda: ipo_loss(gain, beta),
        'cdpo': lambda: cdpo_loss(gain, beta, noise),
        'rdpo': lambda: rdpo_loss(gain, beta, noise),
        'cpo': lambda: cpo_loss(won, lost, beta, likelihood),
        'simpo': lambda: simpo_loss(won, lost, beta, margin),
    }[kind]()
    return jnp.sum(jnp.where(valid, losses, 0), -1) / jnp.maximum(jnp.sum(valid, -1), 1)


def _check_shapes(winners: Sequence[jax.Array | None], losers: Sequence[jax.Array | None]) -> None:
    """Refuses what would be spread over others: all of the winners are [B], all of the losers [B, N]."""
    given = [[x for x in arrays if x is not None] for arrays in (winners, losers)]
    chex.assert_rank([given[0][0], given[1][0]], [1, 2])
    for arrays in given:
        chex.assert_equal_shape(arrays)
    chex.assert_equal_shape_prefix([given[0][0], given[1][0]], 1)


def _check(
    kind: str,
    beta: float,
    noise: float,
    reference_winner: jax.Array | None,
    reference_losers: jax.Array | None,
    lengths: tuple[jax.Array, jax.Array] | None,
) -> None:
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
