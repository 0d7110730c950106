"""Options of OneRec's network: named sizes, all numbers of which may be given, and checks.

The paper (arXiv 2502.18965) gives 24 experts of which 2 are active, three levels of 8,192 codes, histories of 256 items
and sessions of 5; neither depth nor width of any size. These follow the technical report of a later design of the same
name (arXiv 2506.13695, table 1): as many layers in encoder as in decoder, dense nets twice as wide as the model, gated
experts some 8/3 as wide, learned positions.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxrec.models.onerec.presets import SIZES
from jaxrec.models.transformer.weights import Sizes
from jaxrec.ops.experts.grouped import ACTIVATIONS, GATED
from jaxrec.ops.experts.moe import IMPLEMENTATIONS
from jaxrec.options import DTYPES, read_sized
from jaxrec.parallel.experts import DISPATCHES


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes and switches of the encoder-decoder."""

    levels: tuple[int, ...] = (8_192, 8_192, 8_192)  # codes of each level of a semantic ID
    history: int = 256  # n, items of the history at most
    session: int = 5  # m, items of a session
    width: int = 1_024  # X of the model
    heads: int = 8  # of each attention
    head_dim: int = 0  # width of a head; 0 is width / heads
    encoder_layers: int = 4
    decoder_layers: int = 4
    hidden: int = 2_048  # F of the encoder's feed-forward nets, and of the decoder's without experts
    experts: int = 24  # E of each decoder layer; 0 is a dense net
    active: int = 2  # experts that a token passes through
    expert_hidden: int = 2_816  # F of an expert
    activation: str = 'swiglu'  # 'swiglu' or 'geglu' (gated), 'gelu' or 'relu'
    renormalise: bool = False  # gates of the active experts sum to one; the paper's do not
    balance: float = 0.0  # weight of the Switch auxiliary loss (arXiv 2101.03961, eq. 4)
    bias_rate: float = 0.001  # step of the loss-free router bias (arXiv 2408.15664); 0 turns it off
    z_loss: float = 0.0  # weight of the router's z-loss (arXiv 2202.08906, eq. 5)
    expert_impl: str = 'ragged'  # 'capacity' or 'ragged' in training, see `ops.experts.moe`; otherwise 'ragged'
    capacity_factor: float = 2.0  # room of an expert over its fair share, of 'capacity' and of 'all_to_all' buffers
    dispatch: str = 'ring'  # of tokens to experts of other devices: 'ring' or 'all_to_all', see `parallel.experts`
    dropout: float = 0.0  # rate, in training
    tied: bool = True  # codes are predicted by their input vectors
    dtype: str = 'float32'  # of activations; parameters, router, norms, softmaxes and losses are float32
    scan: bool = False  # loop over layers, which compiles one of them instead of all
    remat: bool = False  # compute layers again for gradients

    def __post_init__(self) -> None:
        least = {
            'history': 1, 'session': 1, 'width': 1, 'heads': 1, 'encoder_layers': 1, 'decoder_layers': 1,
            'hidden': 1, 'experts': 0, 'active': 1, 'expert_hidden': 1, 'head_dim': 0,
        }  # fmt: skip
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f'model.{name} = {getattr(self, name)}: give at least {low}')
        if not self.levels or min(self.levels) < 1:
            raise ValueError(f'model.levels = {self.levels}: give the number of codes of each level')
        if not self.head_dim and self.width % self.heads:
            raise ValueError(
                f'model.width = {self.width} is no multiple of model.heads = {self.heads}: change either, or '
                'give model.head_dim'
            )
        if self.experts and self.active > self.experts:
            raise ValueError(f'model.active = {self.active} of model.experts = {self.experts}: give fewer')
        of_experts = ('expert_impl', IMPLEMENTATIONS), ('dispatch', DISPATCHES)
        for name, allowed in (('activation', ACTIVATIONS), ('dtype', DTYPES), *of_experts):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'model.{name} = {getattr(self, name)!r} does not exist; choose one of {sorted(allowed)}'
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f'model.dropout = {self.dropout} is outside [0, 1)')

    @property
    def head_width(self) -> int:
        """D."""
        return self.head_dim or self.width // self.heads

    def sizes(self, hidden: int = 0) -> Sizes:
        """Sizes of a layer whose feed-forward net is `hidden` wide, 0 for the encoder's."""
        return Sizes(self.width, self.heads, self.head_width, hidden or self.hidden, self.gated)

    @property
    def tokens(self) -> int:
        """Tokens an item: a separator and its codes."""
        return 1 + len(self.levels)

    @property
    def codes(self) -> int:
        """Codes of all levels."""
        return sum(self.levels)

    @property
    def gated(self) -> bool:
        """Whether feed-forward nets are gated."""
        return self.activation in GATED


def read_network(config: Mapping[str, Any]) -> Network:
    """Reads any field of `Network` over a `size` of `SIZES` (default 'tiny'); a ValueError refuses others."""
    return read_sized(config, 'model', Network, SIZES, 'tiny')
