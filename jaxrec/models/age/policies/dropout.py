"""MC dropout alone: scores of thinned networks, without a gradient (Gal and Ghahramani, 2016).

B requests, C candidates, N passes.
"""

import dataclasses
from typing import Any

import jax

from jaxrec.models.age.pairs import Model
from jaxrec.models.age.policies.neural import Greedy, bonus, check_form
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.models.age.uncertainty import dropout_pass, dropout_passes
from jaxrec.ops.dropout import DROPS, key_words
from jaxrec.ops.exploration import ucb_delta


@dataclasses.dataclass(frozen=True)
class Dropout(Greedy):
    """Ranks by one thinned network a request, or by the spread of several."""

    form: str = 'ts'  # 'ts' or 'ucb'
    scale: float = 1.0  # of the spread in 'ucb'
    rate: float = 0.01  # share of the weights that a pass sets to zero
    passes: int = 20  # N of 'ucb'
    scope: str = 'request'  # a network for each 'request', or for each 'candidate'
    place: str = 'weights'  # 'weights', or 'activations', whole units

    def __post_init__(self) -> None:
        check_form(self.form, self.scale)
        if self.place not in DROPS:
            raise ValueError(f'options.place = {self.place!r} does not exist; choose one of {tuple(DROPS)}')
        if not 0 <= self.rate < 1 or self.passes < 1 or self.scope not in ('request', 'candidate'):
            raise ValueError(
                f'options.rate = {self.rate}, options.passes = {self.passes}, options.scope = {self.scope!r}'
                ": give a rate in [0, 1), at least 1 pass, and 'request' or 'candidate'"
            )

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        probability, words = model.predict()['probability'], key_words(rng)
        if self.form == 'ts':
            return Ranked(dropout_pass(model, words, self.rate, self.scope, self.place), probability)
        samples = dropout_passes(model, words, self.rate, self.passes, self.scope, self.place)
        spread = ucb_delta(probability, samples)
        return Ranked(bonus('ucb', self.scale, probability, spread, rng), probability)
