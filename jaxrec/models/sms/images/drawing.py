"""Scenes drawn: those of a log twice, what is true and what was found; those of a folder as it has them."""

from collections.abc import Sequence
from pathlib import Path

from jaxrec.data.images.geometry import resize
from jaxrec.data.images.pixels import write_picture
from jaxrec.data.images.records import ImageFolder
from jaxrec.evaluation.relation_segmentation import RelationEvaluator, left_out
from jaxrec.evaluation.segmentation.drawing import draw, side_by_side
from jaxrec.evaluation.segmentation.found import truth_of
from jaxrec.models.sms.images.finder import Finder, make_finder, names_of, surest, trained_of
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model


def show(run: Experiment, find: Finder, part: str, images: int, output: Path) -> list[str]:
    """Draws the first images of a part as `<part>_<number>.png`; returns a line for each, and one for all."""
    source, names, lines = run.source(part), names_of(run), []
    evaluator = RelationEvaluator(names, entity_ap=False)
    count, size = min(images, source.examples), run.train['eval_batch_size']
    for number in range(count):
        if number % size == 0:
            batch = source[number // size]
        scene = truth_of(batch, number % size)
        (found,) = find([scene.image])
        evaluator.add_image(scene, found, *left_out(batch, number % size))
        right, true = (evaluator.images()[-1][key] for key in ('wholly_right', 'relations'))
        best = surest(found, 0.0, true)
        pair = [draw(scene.image, shown, names, limit=max(true, 1)) for shown in (scene, best)]
        titles = [f'{part} {number}: {true} true', f'found: {right} of {true} wholly right']
        write_picture(output / f'{part}_{number:03d}.png', side_by_side(pair, titles))
        lines.append(f'{part} {number}: {right} of {true} triplets wholly right')
    every = evaluator.images()
    right, true = (sum(image[key] for image in every) for key in ('wholly_right', 'relations'))
    return [*lines, f'{right} of {true} triplets of {count} scenes are wholly right']


def show_part(run: Experiment, workdir: Path, output: Path, part: str, images: int, step: int | None = None) -> str:
    """As `show`, with the model of a checkpoint: `step`, or the best; returns also what was written."""
    names_of(run)  # refuses other runs before anything is read
    state, step = restore_model(run, workdir, step)
    lines = show(run, make_finder(trained_of(run, state), 1), part, images, output)
    written = f'wrote {output}/*.png: ground truth on the left, predictions on the right'
    return '\n'.join([*lines, f'by step {step} of {workdir}', written])


def show_folder(records: ImageFolder, numbers: Sequence[int], output: Path, largest: int = 1024) -> None:
    """Draws sound annotated images, by number, as `<number>.png` of at most `largest` pixels on the longer side."""
    for number in numbers:
        scene = records.scene(number)
        height, width = scene.image.shape[:2]
        if (share := largest / max(height, width)) < 1:
            scene = resize(scene, (max(1, round(height * share)), max(1, round(width * share))))
        picture = draw(scene.image, scene, records.vocabulary, limit=max(1, len(scene.relations)))
        write_picture(output / f'{number:06d}.png', picture)
