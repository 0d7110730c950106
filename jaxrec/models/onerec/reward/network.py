"""OneRec's reward model: a user's responses to a session (arXiv 2502.18965, section 3.3, eq. 5-7).

Each item of a session is compared with the user's history, by attention and by how often the history holds its values;
the items then attend to each other, and their sum goes through four towers: swt (the session is watched for long), vtr
(viewed), wtr (the author is followed) and ltr (liked).

It learns from sessions that were shown, as `data.sources.session_source` gives them: one a request, with its labels; of
a log that lacks some, the heads that it has. It scores many sessions a request, none of which need have been shown.

B batch, C sessions a request, m items, n history items, D width of a row, X width of the model, H heads.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrec.configurable import configurable
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.embeddings import Table, as_specs, normal
from jaxrec.models.ctr.layers import Mlp, TargetAttention
from jaxrec.models.ctr.task import blank_rows, row_penalty
from jaxrec.models.onerec.reward.shown import HEADS, RewardEvaluator, as_sessions
from jaxrec.ops.histories.pooling import count_same, length_mask
from jaxrec.ops.transformer import attend
from jaxrec.options import read_options
from jaxrec.training.task import Batch, Metrics, Rows

SIDES = ('history', 'session')
REWARD_OPTIONS: dict[str, Any] = {
    'columns': (), 'features': {}, 'dim': 16, 'width': 64, 'heads': 4, 'attention': (36,), 'towers': (32,),
    'positions': 16, 'matches': True, 'init_std': 0.01, 'row_l2': 0.0,
    'head_weights': {'swt': 1.0, 'vtr': 1.0, 'wtr': 1.0, 'ltr': 1.0},
}  # fmt: skip


class RewardModel(nn.Module):
    """Scores sessions."""

    columns: tuple[str, ...]  # of items, in the order of their vectors
    width: int = 64  # X
    heads: int = 4  # H of the attention among the items
    attention: tuple[int, ...] = (36,)  # hidden widths of the attention to the history
    towers: tuple[int, ...] = (32,)  # hidden widths of each tower
    positions: int = 16  # items of a session at most, with learned positions; 0 treats sessions as sets
    matches: bool = True  # counts an item's values in the history, which attention is slow to learn

    @nn.compact
    def __call__(self, rows: Rows, batch: Batch, train: bool = False) -> jax.Array:
        """Scores the sessions of each request.

        Args:
          rows: {table: {'history/<column>': [B, n, D], 'session/<column>': [B, C, m, D]}}.
          batch: with 'history/length' int [B], 'session/length' int [B, C] and, of each column, 'history/<column>' int
            [B, n] and 'session/<column>' [B, C, m].
          train: unused.

        Returns:
          logits float32 [B, C, 4], in the order of `HEADS`.
        """
        del train
        history, session = (self._vectors(rows, side) for side in SIDES)
        batch_size, sessions, items, size = session.shape
        if self.positions and items > self.positions:
            raise ValueError(
                f'model.positions = {self.positions} of the reward model, and sessions have {items} items: '
                'raise it, or give 0, which treats a session as a set'
            )
        mask = length_mask(batch['history/length'], history.shape[1])
        flat = session.reshape(batch_size, sessions * items, size)
        with jax.named_scope('target'):
            interest = TargetAttention(self.attention, name='interest')(flat, history, mask)
            seen = [flat, interest, flat * interest]
            if self.matches:
                seen.append(self._matches(batch, mask))
            x = jnp.concatenate(seen, -1)
            x = nn.Dense(self.width, name='item')(x).reshape(-1, items, self.width)  # [B C, m, X]
        if self.positions:
            x = x + self.param('positions', nn.initializers.normal(0.02), (self.positions, self.width))[:items]
        real = length_mask(batch['session/length'].reshape(-1), items)  # [B C, m]
        with jax.named_scope('session'):
            x = x + self._see_each_other(x, real > 0)
            pooled = jnp.sum(x * real[..., None], 1)
        towers = [Mlp((*self.towers, 1), name=f'tower_{head}')(pooled) for head in HEADS]
        return jnp.concatenate(towers, -1).reshape(batch_size, sessions, len(HEADS)).astype(jnp.float32)

    def _vectors(self, rows: Rows, side: str) -> jax.Array:
        keys = [f'{side}/{column}' for column in self.columns]
        found = {key: row for features in rows.values() for key, row in features.items()}
        return jnp.concatenate([found[key] for key in keys], -1)

    def _matches(self, batch: Batch, mask: jax.Array) -> jax.Array:
        """log(1 + count) and share of an item's values in the history: [B, C m, 2 columns]."""
        told = []
        for column in self.columns:
            session = batch[f'session/{column}']
            of_items = session.reshape(len(session), -1)
            count = count_same(of_items, batch[f'history/{column}'], mask, least=FIRST)
            told += [jnp.log1p(count), count / jnp.maximum(mask.sum(-1, keepdims=True), 1)]
        return jnp.stack(told, -1)

    def _see_each_other(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Self-attention among the items of a session: [B C, m, X]."""
        head = self.width // self.heads
        project = lambda name: nn.DenseGeneral((self.heads, head), use_bias=False, name=name)(x)
        found = attend(project('query'), project('key'), project('value'), real[:, None, None])
        return nn.Dense(self.width, use_bias=False, name='out')(found.reshape(*x.shape[:2], -1))


@dataclasses.dataclass(frozen=True)
class RewardTask:
    """Four binary cross-entropies (eq. 7); implements `training.task.Task`."""

    module: RewardModel  # the Flax module
    tables: Mapping[str, Table]  # {table: Table}
    table_of: Mapping[str, str]  # {column: its table}
    row_l2: float  # weight of half the squared rows that an example reads, averaged over the examples
    weights: tuple[float, ...]  # of each head in the reward; 0 of those that are not learned
    calibration: tuple[tuple[float, float], ...] = ((1.0, 0.0),) * len(HEADS)  # (scale, shift) of logits
    heads: tuple[str, ...] = HEADS  # those that are learned; predictions of others are meaningless

    def ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Items of histories and sessions, {table: {'<side>/<column>': int32}}."""
        return self._find(as_sessions(batch), SIDES)

    def given_ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """As `ids`, of sessions that were shown as 'target/<column>'."""
        shown = any(key.startswith('target/') for key in batch)
        return self._find(batch, ('history', 'target') if shown else SIDES)

    def _find(self, batch: Mapping[str, Any], sides: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        ids: dict[str, dict[str, Any]] = {}
        for side in sides:
            for column in self.module.columns:
                key = f'{side}/{column}'
                if key not in batch:
                    raise ValueError(
                        f'the batch lacks {key!r}, which the reward model reads of every item: give '
                        'features.candidate and features.history the columns of model.columns'
                    )
                ids.setdefault(self.table_of[column], {})[key] = batch[key]
        return ids

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws (params, {}) for a batch whose values do not matter."""
        rows = blank_rows(self.tables, self.ids(batch))
        return self.module.init(rng, rows, as_sessions(batch))['params'], {}

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The sum of the learned heads' cross-entropies over valid sessions, and the row penalty.

        Args:
          params: the module's.
          model_state: empty.
          rows: as for the module.
          batch: as for `as_sessions`; labels are in [0, 1].
          rng: unused.

        Returns:
          loss float32 [], ({'loss_<head>' of each learned head}, {}).

        Raises:
          ValueError: a label is missing or of another shape.
        """
        del rng
        batch = as_sessions(batch)
        logits: Any = self.module.apply({'params': params}, rows, batch, train=True)
        valid = batch['valid']
        losses: dict[str, jax.Array] = {}
        for head in self.heads:
            label = batch.get(f'label/{head}')
            if label is None or label.shape != valid.shape:
                raise ValueError(
                    f"batch['label/{head}'] is {'absent' if label is None else label.shape}, 'valid' is "
                    f'{valid.shape}; give one label a session, in [0, 1], or, if the log has none, leave '
                    f'{head} out of model.head_weights'
                )
            entropy = optax.sigmoid_binary_cross_entropy(logits[..., HEADS.index(head)], label)
            losses[f'loss_{head}'] = jnp.sum(entropy * valid) / jnp.maximum(valid.sum(), 1)
        loss = jnp.sum(jnp.stack(list(losses.values())))
        if self.row_l2:
            loss = loss + row_penalty(rows, self.row_l2, valid)
        return loss, (losses, model_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns 'probability' float32 [B, C, 4], calibrated, by `HEADS`, and 'reward' [B, C], their weighted sum."""
        del model_state, rng
        logits: Any = self.module.apply({'params': params}, rows, as_sessions(batch))
        scale, shift = jnp.asarray(self.calibration, jnp.float32).T
        probability = jax.nn.sigmoid(logits * scale + shift)
        return {'probability': probability, 'reward': probability @ jnp.asarray(self.weights)}

    def evaluator(self) -> RewardEvaluator:
        """Returns a new evaluator."""
        return RewardEvaluator(self.heads)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> RewardTask:
    """Builds the reward model for a log.

    Args:
      config: any of `REWARD_OPTIONS`; without `columns` they are those of `features['candidate']`. Heads that
        `head_weights` does not name are not learned.
      schema: the log's {column: Column}.

    Raises:
      ValueError: a column that is not categorical or not in the log, heads that do not divide the width, no weight at
        all, or a weight of what is no head.
    """
    options = read_options(config, 'model', **REWARD_OPTIONS)
    columns = tuple(options['columns'] or options['features'].get('candidate', ()))
    if not columns:
        raise ValueError('model.columns is empty: name the columns of items that the reward model reads')
    for column in columns:
        if column not in schema or schema[column].kind != 'categorical':
            raise ValueError(
                f'model.columns names {column!r}, which is no categorical column of the log; it has '
                f'{sorted(name for name, c in schema.items() if c.kind == "categorical")}'
            )
    if options['width'] % options['heads']:
        raise ValueError(f'model.width = {options["width"]} is no multiple of model.heads = {options["heads"]}')
    weights = {name: options['head_weights'][name] for name in options['head_weights']}
    heads = tuple(head for head in HEADS if head in weights)
    if not heads or len(heads) != len(weights):
        raise ValueError(
            f'model.head_weights names {sorted(weights)}; give one for each of {list(HEADS)} that is to be '
            'learned, at least one'
        )
    rows = {schema[column].vocabulary: schema[column].rows for column in columns}
    numbers = {name: options[name] for name in ('width', 'heads', 'positions', 'matches')}
    module = RewardModel(columns, attention=tuple(options['attention']), towers=tuple(options['towers']), **numbers)
    return RewardTask(
        module,
        as_specs([Table(name, n, options['dim'], normal(options['init_std'])) for name, n in rows.items()]),
        {column: schema[column].vocabulary for column in columns},
        options['row_l2'],
        tuple(float(weights.get(head, 0)) for head in HEADS),
        heads=heads,
    )
