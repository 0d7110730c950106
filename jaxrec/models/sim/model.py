"""SIM (arXiv 2006.05639): a long history is searched for what fits the candidate, and attended to exactly.

A short model (the paper's is DIEN) reads the most recent behaviours; a long-term interest those before them: a search
keeps few of thousands, attention weighs these. ETA, SDIM and TWIN are other choices of the same block.

B batch, C candidates, X width of the short model.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import base_tables
from jaxrec.models.ctr.base import Base, make_base
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask, Ids, Scored
from jaxrec.models.sim.attention import LocalActivation, Mean, MultiHead
from jaxrec.models.sim.behaviours import Lifelong
from jaxrec.models.sim.interest import Inspection, Sdim, Twin, TwoStages
from jaxrec.models.sim.options import SHORT_MODELS, read_sim_options
from jaxrec.models.sim.presets import PRESETS
from jaxrec.models.sim.search import HashSearch, KeepAll, SharedSearch, SoftSearch


class Sim(nn.Module):
    """An MLP on the vectors of a short model and of long-term interest; further attributes are those of `Dnn`.

    Attributes:
      base: the short model, called as (rows, batch, train) -> (x float [B, C, X], {name: loss}).
      interest: called as (candidate, behaviours, batch, train) -> (float [B, C, *], {name: loss}).
      features, lifelong: the feature map, and how the behaviours before the short window are read.
      beta: weight of the loss of the scores.
    """

    base: nn.Module
    interest: nn.Module
    features: FeatureMap
    lifelong: Lifelong
    beta: float = 1.0
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> Scored:
        """Scores the candidates as `Dnn` does, with the losses of the short model and of the search."""
        x, losses = self.base(rows, batch, train)
        candidate = jnp.concatenate(self.features.parts('candidate', rows, batch), -1)
        interest, own = self.interest(candidate, self.lifelong.read(rows, batch), batch, train)
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        logits = head(jnp.concatenate([x, interest], -1), train, batch['valid'])[..., 0]
        return Scored(logits, losses | own, self.beta)

    def inspect(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Inspection:
        """Returns what the search keeps: see `inspection.make_inspect_step`.

        Args:
          rows: {table: {feature: [B, ..., D]}}, looked up for the task's `given_ids`.
          batch: {key: [B, ...]} with the complete window, whatever the search.

        Returns:
          Positions in the long window, and how the exact unit weighs all of it.

        Raises:
          ValueError: the loader searched, so that the batch does not hold the window.
        """
        if 'kept/length' in batch:
            raise ValueError(
                'the loader has searched, so what it kept has no positions in a window: judge a search on '
                'batches made with data.lifelong.search = None, which give the same predictions'
            )
        candidate = jnp.concatenate(self.features.parts('candidate', rows, batch), -1)
        found = self.lifelong.found(batch) if self.lifelong.hard else None
        whole = dataclasses.replace(self.lifelong, hard=False)
        return self.interest.inspect(candidate, whole.read(rows, batch), batch, found)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds SIM, or another model of long histories, for a log.

    Args:
      config: `features`, and any other of `BASE_OPTIONS` and `SIM_OPTIONS`: `preset` (see `PRESETS`, any option
        overrides it), `search`, `attention`, `short_model` and its `base_options`, and the rest.
      schema: the log's {column: Column}.

    Raises:
      ValueError: what `read_sim_options` or the short model refuse.
    """
    options = read_sim_options(config, schema)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    hard, time_gap = options['search'] == 'hard', bool(options['time_gap'])
    lifelong = Lifelong(features, hard, options['keep'], options['column'], time_gap)
    base = _short_model(options, schema)
    head = float(options['beta']), tuple(options['widths']), options['batch_norm']
    module = Sim(base.module, _interest(options, features), features, lifelong, *head)
    tables = base_tables(features, options['dim'], options['init_std'])
    ids = lambda batch: _merge(base.ids(batch), lifelong.ids(batch))
    given_ids = lambda batch: _merge(base.ids(batch), lifelong.given_ids(batch))
    return CtrTask(module, as_specs(tables), ids, options['row_l2'], given_ids, lifelong.check_data)


def _short_model(options: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """The short model, of the history's columns that candidates have too; none of them without one."""
    short = options['short_model']
    features = {side: list(names) for side, names in options['features'].items()}
    compared = [] if short == 'none' else features['candidate']
    features['history'] = [name for name in features['history'] if name in compared]
    return make_base(SHORT_MODELS[short], {**options, 'features': features}, options['base_options'], schema)


def _interest(options: Mapping[str, Any], features: FeatureMap) -> nn.Module:
    """The unit of long-term interest that the options name."""
    search, keep, time_gap = options['search'], options['keep'], options['time_gap']
    heads, width, seed = options['num_heads'], options['head_dim'], options['hash_seed']
    if search == 'sdim':
        hashes = options['hashes'] or PRESETS['sdim']['hashes']
        return Sdim(hashes, options['hash_group'], seed, time_gap, keep)
    if search == 'twin':
        candidate = [name for side, name in features.features if side == 'candidate']
        inherent = tuple(name in candidate for side, name in features.features if side == 'history')
        return Twin(keep, inherent, heads, width, time_gap)
    searches: dict[str, Callable[[], nn.Module]] = {
        'none': KeepAll,
        'hard': KeepAll,
        'soft': lambda: SoftSearch(
            keep, options['project'], width, options['alpha'], options['aux_softmax'], tuple(options['widths'])
        ),
        'soft_shared': lambda: SharedSearch(keep),
        'simhash': lambda: HashSearch(keep, options['hashes'], seed),
    }
    attentions: dict[str, Callable[[], nn.Module]] = {
        'mha': lambda: MultiHead(heads, width),
        'din': lambda: LocalActivation(tuple(options['din_widths']), options['din_softmax']),
        'mean': Mean,
    }
    return TwoStages(searches[search](), attentions[options['attention']](), time_gap)


def _merge(ids: Ids, more: Ids) -> Ids:
    return {table: {**ids.get(table, {}), **more.get(table, {})} for table in [*ids, *more]}
