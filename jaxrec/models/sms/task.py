"""The task of relation segmentation (arXiv 2105.11168): three branches on one map, trained together.

B batch, H, W image, h, w map of stride 4, N entities, R relations, P parts.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable, resolve
from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms.losses import Losses, entity_losses, mask_logits, parsing_losses, relation_losses, see_entities
from jaxrec.models.sms.network import fusion
from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.network.heads import Counts, Maps, Sms
from jaxrec.models.sms.network.layers import When
from jaxrec.models.sms.network.options import Network, read_network
from jaxrec.models.sms.weights.convert import load_trunk
from jaxrec.models.sms.weights.state_transfer import load_network, require_alike
from jaxrec.options import read_options
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows, WithoutTables

log = logging.getLogger(__name__)

EVALUATOR = 'jaxrec.evaluation.relation_segmentation:RelationEvaluator'
OWN: dict[str, Any] = {'evaluator': EVALUATOR, 'weights': '', 'features': {}}  # what else a section says
TRUTH = (
    'entity/centre', 'entity/size', 'entity/middle', 'entity/category', 'entity/valid', 'entity/mask',
    'relation/subject', 'relation/object', 'relation/category', 'relation/parts', 'relation/valid', 'part',
    'valid',
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class SmsTask(WithoutTables):
    """SMS; implements `training.task.Task` without tables.

    Attributes:
      network: sizes and switches.
      vocabulary: of classes, relations and parts.
      evaluator_name: 'module:callable', vocabulary -> a fresh accumulator.
      weights: path of a file with the trunk's weights or a complete network, where training begins; '' for random ones.
    """

    network: Network
    vocabulary: Vocabulary
    evaluator_name: str = EVALUATOR
    weights: str = ''

    @property
    def names(self) -> fusion.Names:
        """What fusion must know of the vocabulary."""
        words = self.vocabulary
        symmetric = tuple(name in words.symmetric for name in words.relations)
        counts = Counts(len(words.entities), len(words.relations), len(words.parts))
        return fusion.Names(counts, words.entities.index(words.person), symmetric)

    @property
    def module(self) -> nn.Module:
        """The Flax module."""
        return Sms(self.network, self.names.counts)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the parameters; only the shapes of the batch matter.

        Returns:
          (params, model_state): the state holds the running 'batch_stats', nothing with group norm.

        Raises:
          ValueError: a batch without images, images whose sides the network cannot halve often enough, or options that
            ask for more than there is in such an image.
        """
        self._check(batch, ('image',))
        self.check_room(batch)  # not only when it predicts, which training does after hours
        variables = dict(self.module.init(rng, batch['image'][:1], method=self.touch))
        return variables.pop('params'), variables

    def pretrained(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """Replaces what was drawn by the contents of the file `weights`, if given; returns new trees.

        Raises:
          ValueError: there is no such file, or what `convert.load_trunk` or `state_transfer.load_network` refuses.
        """
        if not self.weights:
            return params, model_state
        if not Path(self.weights).is_file():
            raise ValueError(
                f'model.weights = {self.weights!r} is no file: give a .safetensors file, one that torch.save '
                'wrote or a .npz file of `jaxrec sms export`, or leave it out'
            )
        if Path(self.weights).suffix == '.npz':
            given = self.network, self.vocabulary, params, model_state
            params, model_state, known = load_network(self.weights, *given)
            told = ', '.join(f'{count} {kind}' for kind, count in known.items())
            log.info('%s: a whole network, of our names %s', self.weights, told)
            return params, model_state
        params, model_state, report = load_trunk(params, model_state, self.weights)
        log.info('%s: %d arrays to the trunk, %d left', self.weights, len(report.loaded), len(report.left))
        return params, model_state

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Raises a ValueError naming the option if targets are of another map than the network's."""
        if data['stride'] != STRIDE:
            raise ValueError(
                f'data.stride = {data["stride"]}: a cell of the network is {STRIDE} pixels wide, leave it out'
            )
        if (fine := data['mask_stride'] or STRIDE) != self.network.fine_stride:
            raise ValueError(
                f'data.mask_stride = {fine}: masks of this network are learned at a stride of '
                f'{self.network.fine_stride} (model.mask_stride): give that'
            )

    def check_room(self, batch: Batch) -> None:
        """Raises a ValueError naming the option that asks for more entities or points than images have places."""
        cells, counts = tuple(side // STRIDE for side in batch['image'].shape[1:3]), self.names.counts
        fusion.require_room('keep', self.network.keep, (*cells, counts.entities))
        fusion.require_room('points', self.network.points, (*cells, counts.relations))

    def check_start(self, model: Mapping[str, Any]) -> None:
        """Raises a ValueError naming options by which the config section `model` changes what parameters mean."""
        require_alike(network_of(model), self.network)

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The weighted sum of all branches' losses.

        Args:
          params, model_state: the module's, and batch statistics.
          rows: unused.
          batch: 'image' uint8 [B, H, W, 3], 'valid' float32 [B], and the ground truth: see `TRUTH`.
          rng: a typed key, which two stages use; see `Network.predicted_pairs`.

        Returns:
          loss float32 [], ({a weighted loss each}, new model_state).

        Raises:
          ValueError: a key is missing, or of another size than the vocabulary and the images.
        """
        del rows
        self._check(batch, ('image', *TRUTH))
        self._check_sizes(batch)
        variables = {'params': params, **model_state}
        losses, changed = self.module.apply(variables, batch, rng, method=self.branch_losses, mutable=list(model_state))
        return jnp.sum(jnp.stack(list(losses.values()))), (losses, changed if model_state else model_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Finds entities, triplets and parts in 'image' uint8 [B, H, W, 3]: `fusion.read_out`; raises as `init`."""
        del rows, rng
        self._check(batch, ('image',))
        variables = {'params': params, **model_state}
        found: Any = self.module.apply(variables, batch['image'], method=self.find)
        return found

    def evaluator(self) -> Evaluator:
        """Returns a fresh accumulator."""
        return resolve(self.evaluator_name, 'evaluator')(self.vocabulary)

    def touch(self, module: Any, image: jax.Array) -> Maps:
        """Reads everything once, so that all parameters are drawn; a method of the module."""
        maps = module.maps(image, When())
        cell = jnp.zeros((len(image), 1, 2), jnp.int32)
        module.read_entities(maps.features, cell)
        module.read_relations(maps.matched, cell, jnp.zeros(cell.shape[:2], jnp.int32))
        return maps

    def branch_losses(self, module: Any, batch: Batch, rng: jax.Array) -> Losses:
        """{name: float32 []}; a method of the module."""
        del rng
        maps, network, names = (module.maps(batch['image'], When(True, batch['valid'])), self.network, self.names)
        subjects = fusion.subjects(network, names)
        return {
            **entity_losses(network, maps, see_entities(network, maps, module.read_entities, batch), batch),
            **relation_losses(network, maps, module.read_relations, batch, subjects),
            **parsing_losses(network, maps, batch),
        }

    def find(self, module: Any, image: jax.Array) -> fusion.Predictions:
        """From uint8 [B, H, W, 3] to the read-out; a method of the module."""
        network, maps = self.network, module.maps(image, When())
        assert maps.relation is not None
        with jax.named_scope('fusion'):
            entities, masks = self.found_entities(module, maps)
            triplets = fusion.match_points(
                network,
                self.names,
                entities,
                maps.relation,
                lambda cell, category: module.read_relations(maps.matched, cell, category),
            )
            return fusion.read_out(network, entities, masks, triplets, maps.parsing, image.shape[1:3])

    def found_entities(self, module: Any, maps: Maps) -> tuple[fusion.Entities, jax.Array | None]:
        """The K best entities and the logits of their masks [B, K, h, w], None where these are boxes."""
        read = lambda cell: module.read_entities(maps.features, cell)
        entities = fusion.find_entities(maps.entity, read, self.network.keep)
        if maps.masks is None or entities.weights is None:
            return entities, None
        return entities, mask_logits(self.network, maps.masks, entities.weights, entities.cell)

    def _check(self, batch: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        if missing := [key for key in keys if key not in batch]:
            raise ValueError(f'the batch lacks {missing[0]!r}; images come with {("image", *TRUTH)}')
        shape, coarsest = batch['image'].shape, self.network.trunk_shape.coarsest
        if len(shape) != 4 or shape[3] != 3:
            raise ValueError(f"batch['image'] has the shape {shape}: give uint8 [B, H, W, 3]")
        if any(side % coarsest for side in shape[1:3]):
            raise ValueError(
                f'images of {shape[1]} x {shape[2]}: sides must be multiples of {coarsest}, the coarsest '
                f'stride of {self.network.trunk!r}; pad or resize them'
            )

    def _check_sizes(self, batch: Mapping[str, Any]) -> None:
        """Refuses shapes that would broadcast without a word; numbers of entities and classes are trusted."""
        number, height, width, _ = batch['image'].shape
        count, relations = batch['entity/category'].shape[1], batch['relation/category'].shape[1]
        cells = (height // self.network.fine_stride, width // self.network.fine_stride)
        for key, shape in (
            ('valid', (number,)),
            *((f'entity/{key}', (number, count)) for key in ('category', 'valid')),
            *((f'relation/{key}', (number, relations)) for key in ('subject', 'object', 'category', 'valid')),
            ('entity/centre', (number, count, 2)),
            ('entity/size', (number, count, 2)),
            ('entity/middle', (number, count, 2)),
            ('entity/mask', (number, count, *cells)),
            ('relation/parts', (number, relations, len(self.vocabulary.parts))),
            ('part', (number, *cells)),
        ):
            if batch[key].shape != shape:
                raise ValueError(
                    f'batch[{key!r}] has the shape {batch[key].shape}, not {shape}: make targets for this '
                    f'vocabulary, a stride of 4 and masks of stride {self.network.fine_stride}'
                )


def read_task(config: Mapping[str, Any], schema: Any) -> tuple[Network, Vocabulary, str, str]:
    """Network, vocabulary, evaluator and weights of a config section, as for `make_task`."""
    options = read_options({key: config[key] for key in OWN if key in config}, 'model', **OWN)
    if options['features']:
        raise ValueError(f'features = {options["features"]}: images have none, leave it empty')
    vocabulary = schema if isinstance(schema, Vocabulary) else schema.get('vocabulary')
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError("the schema has no 'vocabulary': give a Vocabulary, or {'vocabulary': Vocabulary}")
    return network_of(config), vocabulary, options['evaluator'], options['weights']


def network_of(config: Mapping[str, Any]) -> Network:
    """The network of a config section `model`; see `make_task`."""
    return read_network({key: config[key] for key in config if key not in OWN})


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Any) -> SmsTask:
    """Builds the task.

    Args:
      config: as for `read_network`, and `evaluator`, 'module:callable' of what makes an evaluator of a vocabulary;
        `weights`, a file that `convert.load_trunk` or `state_transfer.load_network` reads, with which training begins;
        `features` may be there, empty.
      schema: a `Vocabulary`, or a mapping with one as 'vocabulary'.

    Raises:
      ValueError: what `read_network` refuses, or a schema without a vocabulary.
    """
    return SmsTask(*read_task(config, schema))
