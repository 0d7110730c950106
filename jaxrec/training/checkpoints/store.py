"""Checkpoints: the only code that uses Orbax.

A checkpoint is a folder `<step>` with the parts `model` (params, model_state), `tables`, `optimizer` (step, optimizer
state, key) and `slots` (the optimizer state of tables), written to a temporary folder and renamed. It also has the
metrics, the loop's progress, the loader's position, the shapes, which are compared before anything is read, and the
checksums of all files. Kept are the latest K and the best one. Each process writes what is on its devices.

A resumed run takes the latest sound checkpoint and moves damaged ones aside; a step that is named is read or refused.
"""

import contextlib
import dataclasses
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxrec.files import is_full, no_room
from jaxrec.parallel.host_memory import use_huge_pages
from jaxrec.parallel.processes import gather
from jaxrec.training.checkpoints import damage
from jaxrec.training.checkpoints.damage import DamagedCheckpoint
from jaxrec.training.checkpoints.parts import (
    MODEL,
    OPTIMIZER,
    fields_of,
    parts_of,
    refuse_another_model,
    refuse_older_version,
    require_written,
    rows_of,
    shapes_of,
)
from jaxrec.training.state import TrainState

log = logging.getLogger(__name__)

SAVE_S = 4 * 3600  # some TB from each process to a shared file system; Orbax itself would wait for 20 minutes

_policies, _decisions = ocp.training.preservation_policies, ocp.training.save_decision_policies


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds: the state without scratch, the loop's progress, metrics and log of its time, or {}."""

    state: TrainState
    progress: dict[str, Any]
    metrics: dict[str, float]
    trained_on: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Example:
      with Checkpoints('runs/x/checkpoints', keep=2, monitor='auc') as checkpoints:
        checkpoints.save(state, {'bad': 0}, table_rows={'item': 1000}, data=loader, metrics={'auc': .7})
    """

    def __init__(
        self,
        folder: str | Path,
        keep: int = 2,
        monitor: str | None = None,
        maximize: bool = True,
        read_only: bool = False,
        timeout_s: int = SAVE_S,
    ):
        """Opens or creates the folder.

        Args:
          folder: where the step folders stand.
          keep: K, how many of the latest survive.
          monitor: the metric whose best checkpoint survives too; None keeps the latest only.
          maximize: whether a larger metric is better.
          read_only: leave unfinished and damaged checkpoints alone: another process may be writing them.
          timeout_s: seconds that a save may take.

        Raises:
          DamagedCheckpoint: the metrics of one cannot be read; which is the best is then not known.
        """
        self.folder, self.read_only, self._failed = Path(folder).absolute(), read_only, False
        self.timeout_s, context = timeout_s, ocp.Context()
        context.asynchronous.timeout_secs = timeout_s
        damage.require_metrics(self.folder, read_only)
        self.monitor, self.maximize = monitor, maximize
        keeps = [_policies.LatestN(keep)]
        if monitor is not None:
            value = lambda metrics: _rank(metrics[monitor], maximize)
            keeps.append(_policies.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False))
        self._orbax = ocp.training.Checkpointer(
            self.folder,
            save_decision_policy=_decisions.FixedIntervalPolicy(1),
            preservation_policy=_policies.AnyPreservationPolicy(keeps),
            cleanup_tmp_directories=not read_only,
            context=context,
        )

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        # Orbax raises once more on closing what has been raised in `save`.
        with contextlib.suppress(ValueError, OSError) if self._failed else contextlib.nullcontext():
            self._orbax.close()

    @property
    def steps(self) -> list[int]:
        """Steps that can be restored, ascending."""
        return sorted(checkpoint.step for checkpoint in self._orbax.checkpoints)

    @property
    def best(self) -> int | None:
        """The step with the best monitored metric, the latest among equals; None before any was measured."""
        measured = ((c.metrics or {}, c.step) for c in self._orbax.checkpoints)
        scored = [
            (_rank(metrics[self.monitor], self.maximize), step) for metrics, step in measured if self.monitor in metrics
        ]
        return max(scored)[1] if scored else None

    def table_rows(self, step: int | None = None) -> dict[str, int]:
        """{table: V} of a checkpoint, without padding; None is the latest step."""
        _, described = self._describe(self._place(step))
        shapes = {name: shape for name, (shape, _) in described['shapes'].items()}
        return {n.partition('/')[2]: shape[0] for n, shape in shapes.items() if n.startswith('tables/')}

    def _place(self, step: int | None) -> Path:
        """Folder of a checkpoint."""
        steps = self.steps
        if not steps or (step is not None and step not in steps):
            what = 'no checkpoint' if step is None else f'no checkpoint of step {step}'
            raise ValueError(
                f'{self.folder} holds {what}; it has the steps {steps or "none"}. Train first, or name one of them'
            )
        return self.folder / str(steps[-1] if step is None else step)

    def _describe(self, where: Path) -> tuple[Any, dict[str, Any]]:
        """Metadata and description of a checkpoint."""
        try:
            known = self._orbax.metadata(int(where.name))
        except (KeyError, OSError, ValueError) as error:
            raise damage.damaged_checkpoint(where, _root(error)) from error
        described = known.custom_metadata or {}
        if 'shapes' not in described:
            raise damage.damaged_checkpoint(where, 'it has lost its description')
        return known, described

    def save(
        self,
        state: TrainState,
        progress: Mapping[str, Any],
        *,
        table_rows: Mapping[str, int],
        data: Any = None,
        metrics: Mapping[str, float] | None = None,
        trained_on: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint and waits for it: the next step reuses the memory of this state.

        Args:
          progress: the loop's progress, plain JSON values.
          table_rows: {table: V}, rows without padding.
          data: the Grain iterator, whose state is plain JSON and the same in every process.
          trained_on: what identifies the log, plain JSON values.

        Raises:
          ValueError: the disk is full, or the save took too long; earlier checkpoints are intact.
        """
        parts = parts_of(state, MODEL, table_rows) | parts_of(state, OPTIMIZER, table_rows)
        described = {'progress': dict(progress), 'shapes': shapes_of(state, table_rows)}
        described |= {'trained_on': dict(trained_on or {})}
        described |= {} if data is None else {'data': data.get_state()}
        where = self.folder / str(int(state.step))
        try:
            measured = dict(metrics) if metrics else None
            self._orbax.save_checkpointables(
                int(state.step), parts, metrics=measured, custom_metadata=described, overwrite=True
            )
            require_written(where, parts)
            if jax.process_index() == 0:
                damage.write_sums(where)
        except (OSError, ValueError) as error:
            self._failed = True
            if (told := self._not_saved(where, state, error)) is None:
                raise
            raise told from error
        damage.clear_aside(self.folder)

    def _not_saved(self, where: Path, state: TrainState, error: Exception) -> ValueError | None:
        """What is said of a save that has failed, None where no remedy is known."""
        kept = jax.tree.leaves(fields_of(state, MODEL + OPTIMIZER))
        needed = sum(leaf.nbytes for leaf in kept if hasattr(leaf, 'nbytes'))
        if isinstance(error, TimeoutError):
            return ValueError(
                f'checkpoint {where}, about {needed / 1e6:,.1f} MB, was not written within {self.timeout_s} '
                f's ({error}): see that {self.folder} answers, or give a save more time by '
                'train.save_timeout. What was saved before is intact'
            )
        if not is_full(error):
            return None
        for partial in self.folder.glob(f'{where.name}.orbax-checkpoint-tmp*'):
            shutil.rmtree(partial, ignore_errors=True)
        return no_room(f'checkpoint {where}', self.folder, error, needed)

    def restore(
        self,
        abstract: TrainState,
        step: int | None = None,
        *,
        table_rows: Mapping[str, int],
        data: Any = None,
        model_only: bool = False,
    ) -> Restored:
        """Reads a checkpoint straight into place, on whatever mesh `abstract` names.

        Without a step a damaged checkpoint is passed over for the one before, logged, and moved to `<step>.damaged`,
        unless none is sound, the model alone is read, or the folder is `read_only`.

        Args:
          abstract: from `abstract_state`.
          step: which; None is the latest.
          table_rows: {table: V}, rows without padding.
          data: the Grain iterator to be moved to its saved position.
          model_only: leave optimizer and loader alone, as evaluation does; those fields stay abstract.

        Raises:
          ValueError: there is no such checkpoint, it is damaged, or it is of another model.
        """
        if step is not None or model_only or self.read_only:
            return self._read(self._place(step), abstract, table_rows, data, model_only)
        damaged: dict[Path, str] = {}
        where = self._place(None)
        for candidate in (where.with_name(str(older)) for older in reversed(self.steps)):
            try:
                restored = self._read(candidate, abstract, table_rows, data, model_only)
            except DamagedCheckpoint as error:
                damaged[candidate] = error.found
            else:
                if damaged:
                    damage.set_aside(damaged)
                    log.warning('going on from %s', candidate)
                    self._orbax.reload()
                return restored
        raise ValueError(
            f'{self.folder} has no sound checkpoint left: {"; ".join(damaged.values())}. Put a copy of one '
            'back, or remove that folder to begin anew'
        )

    def _read(
        self, where: Path, abstract: TrainState, table_rows: Mapping[str, int], data: Any, model_only: bool
    ) -> Restored:
        """Verifies and reads one checkpoint."""
        unread = ('optimizer', 'slots', 'data') if model_only else ()
        if problem := damage.found_by_first(lambda: damage.find_damage(where, unread)):
            raise damage.damaged_checkpoint(where, problem)
        known, described = self._describe(where)
        fields = MODEL if model_only else MODEL + OPTIMIZER
        refuse_another_model(described['shapes'], shapes_of(abstract, table_rows), fields, where)
        wanted = parts_of(abstract, MODEL, table_rows)
        if not model_only:
            wanted |= parts_of(abstract, OPTIMIZER, table_rows)
        refuse_older_version(where, wanted, described, data is not None and not model_only)
        parts = self._load(where, wanted)
        if data is not None and not model_only:
            data.set_state(described['data'])
        state = dataclasses.replace(abstract, **parts['model'], **parts.get('optimizer', {}), **rows_of(wanted))
        if not model_only:
            use_huge_pages((state.tables, state.row_opt_state))
        progress, trained_on = (dict(described.get(name, {})) for name in ('progress', 'trained_on'))
        return Restored(state, progress, dict(known.metrics or {}), trained_on)

    def _load(self, where: Path, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Reads the parts of a checkpoint; processes agree on whether it could be read."""
        parts, failed, cause = {}, '', None
        try:
            parts = self._orbax.load_checkpointables(int(where.name), dict(wanted))
        except (KeyError, OSError, ValueError) as error:  # what Orbax raises for files that are cut or gone
            failed, cause = _root(error), error
        problem = next((found for found in gather(failed) if found), '')
        if not problem:
            return parts
        # And the sums have just been right.
        if damage.found_by_first(lambda: 'yes' if (where / damage.NAME).exists() else ''):
            raise ValueError(
                f'checkpoint {where} could not be read ({problem}), though its checksums are right: see that '
                'the file system answers, and give the command again'
            ) from cause
        raise damage.damaged_checkpoint(where, problem) from cause


def _rank(value: float, maximize: bool) -> float:
    """What is larger for a better value; NaN is worse than all."""
    return -math.inf if math.isnan(value) else value if maximize else -value


def _root(error: BaseException) -> str:
    """The first cause of an error, in a line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error)[:200]
