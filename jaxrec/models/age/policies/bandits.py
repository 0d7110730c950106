"""Bandits without a network: random, LinUCB (Li et al., 2010) with an arm an item, Beta-Bernoulli sampling.

B requests, C candidates, V items, d numbers of a context, W of them that are not 0.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.data.logs.schema import Column
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.training.task import Batch

LARGEST = 1 << 28  # numbers of LinUCB's matrices, 1 GiB
AT_ONCE = 64  # requests whose parts of them are read together


class Random:
    """Ranks by chance, which is what a uniform logger does."""

    def start(self) -> Any:
        """As `Memory.start`: how many events there were, since a checkpoint of nothing is none."""
        return {'events': jnp.float32(0)}

    def rank(self, memory: Any, batch: Batch, rng: jax.Array) -> Ranked:
        """As `Memory.rank`."""
        pool = batch['valid']
        return Ranked(jax.random.uniform(rng, pool.shape), jnp.full(pool.shape, jnp.nan))

    def observe(self, memory: Any, batch: Batch) -> Any:
        """As `Memory.observe`."""
        return {'events': memory['events'] + batch['valid'].sum()}


@dataclasses.dataclass(frozen=True)
class BetaBernoulli:
    """Thompson sampling of each item's own CTR."""

    item: str  # batch key of the item, such as 'candidate/item'
    items: int  # V
    clicks: float = 1.0  # of the prior
    skips: float = 1.0  # of the prior

    def __post_init__(self) -> None:
        if self.clicks <= 0 or self.skips <= 0:
            given = f'options.clicks = {self.clicks} and options.skips = {self.skips}'
            raise ValueError(f'{given}: a Beta prior needs more than 0')

    def start(self) -> Any:
        """As `Memory.start`."""
        full = lambda value: jnp.full(self.items, value, jnp.float32)
        return {'clicks': full(self.clicks), 'skips': full(self.skips)}

    def rank(self, memory: Any, batch: Batch, rng: jax.Array) -> Ranked:
        """As `Memory.rank`."""
        clicks, skips = memory['clicks'][batch[self.item]], memory['skips'][batch[self.item]]
        return Ranked(jax.random.beta(rng, clicks, skips), clicks / (clicks + skips))

    def observe(self, memory: Any, batch: Batch) -> Any:
        """As `Memory.observe`."""
        item, label, valid = batch[self.item], batch['label'], batch['valid']
        return {
            'clicks': memory['clicks'].at[item].add(label * valid),
            'skips': memory['skips'].at[item].add((1 - label) * valid),
        }


@dataclasses.dataclass(frozen=True)
class LinUcb:
    """A ridge regression of clicks on the user for each item, and its confidence bound.

    The context is a 1 and the one-hots of the user's columns, several values a column beside each other.
    """

    item: str  # batch key of the item, such as 'candidate/item'
    items: int  # V
    context: Mapping[str, Column]  # {user column: Column}, categorical, multi-valued or numeric
    scale: float = 1.0  # alpha, of the deviation
    ridge: float = 1.0  # of the regressions

    def __post_init__(self) -> None:
        numbers = self.items * self.size**2
        if numbers > LARGEST:
            raise ValueError(
                f'LinUCB keeps a matrix of {self.size} x {self.size} for each of {self.items} items, '
                f'{numbers:,} numbers and at most {LARGEST:,}: name fewer or smaller columns in '
                'options.context'
            )
        if self.ridge <= 0 or self.scale < 0:
            raise ValueError(
                f'options.ridge = {self.ridge} and options.scale = {self.scale}: give a ridge above 0 and '
                'a scale of 0 or more'
            )

    @property
    def size(self) -> int:
        """The width d of a context."""
        return 1 + sum(1 if c.kind == 'numeric' else c.rows for c in self.context.values())

    def start(self) -> Any:
        """As `Memory.start`: of each item the inverse matrix, the sum of clicked contexts, the weights."""
        inverse = jnp.tile(jnp.eye(self.size, dtype=jnp.float32) / self.ridge, (self.items, 1, 1))
        blank = jnp.zeros((self.items, self.size), jnp.float32)
        return {'inverse': inverse, 'clicked': blank, 'weights': blank}

    def entries(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """The users in numbers, those alone that a context may have beside zeros.

        Returns:
          Places int32 [B, W] below d, and values float32 [B, W], which add where a place occurs twice.
        """
        size = batch['valid'].shape[0]
        places, values, first = [jnp.zeros((size, 1), jnp.int32)], [jnp.ones((size, 1), jnp.float32)], 1
        for name, column in self.context.items():
            x = batch[f'user/{name}']
            if column.kind == 'numeric':
                places.append(jnp.full((size, 1), first, jnp.int32))
                values.append((jnp.sign(x) * jnp.log1p(jnp.abs(x)))[:, None])
                first += 1
                continue
            ids = x if column.kind == 'multi' else x[:, None]
            places.append(first + jnp.clip(ids, 0, column.rows - 1))
            values.append(((ids > 0) & (ids < column.rows)).astype(jnp.float32))
            first += column.rows
        return jnp.concatenate(places, -1), jnp.concatenate(values, -1)

    def rank(self, memory: Any, batch: Batch, rng: jax.Array) -> Ranked:
        """As `Memory.rank`: of an item's matrix only what a context's few entries meet is read."""

        def request(args: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            places, values, items = args
            mean = memory['weights'][items[:, None], places] @ values
            met = memory['inverse'][items[:, None, None], places[:, None], places]  # [C, W, W]
            return mean, jnp.sqrt(jnp.maximum(met @ values @ values, 0))

        # Some requests at a time: the parts of all of a batch, of long contexts, would fill the memory.
        given = *self.entries(batch), batch[self.item]
        mean, deviation = jax.lax.map(request, given, batch_size=AT_ONCE)
        return Ranked(mean + self.scale * deviation, mean)

    def observe(self, memory: Any, batch: Batch) -> Any:
        """As `Memory.observe`, one event after the other (Sherman and Morrison, 1950)."""

        def event(memory: Any, args: tuple[jax.Array, ...]) -> tuple[Any, None]:
            places, values, item, label, valid = args
            x = jnp.zeros(self.size, jnp.float32).at[places].add(values)
            inverse = memory['inverse'][item]
            reached = inverse @ x
            smaller = inverse - valid * jnp.outer(reached, reached) / (1 + reached @ x)
            clicked = memory['clicked'][item] + valid * label * x
            new = {'inverse': smaller, 'clicked': clicked, 'weights': smaller @ clicked}
            return {name: memory[name].at[item].set(new[name]) for name in new}, None

        columns = (batch[self.item][:, 0], batch['label'][:, 0], batch['valid'][:, 0])
        return jax.lax.scan(event, memory, (*self.entries(batch), *columns))[0]
