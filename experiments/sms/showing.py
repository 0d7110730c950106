"""Scenes of a log drawn twice: what is true of them, and what was found."""

from pathlib import Path

from experiments.building import Experiment
from experiments.sms.looking import Finder, names_of, surest
from jaxrec.data.images.pixels import write_picture
from jaxrec.evaluation.relation_segmentation import RelationEvaluator
from jaxrec.evaluation.segmentation.drawing import draw, side_by_side
from jaxrec.evaluation.segmentation.found import truth_of


def show(run: Experiment, find: Finder, part: str, images: int, output: Path) -> list[str]:
    """Draws the first images of a part.

    Args:
      run: of a network.
      find: its finder.
      part: of the log.
      images: how many at most.
      output: takes `<part>_<number>.png`.

    Returns:
      A line for each image, and one for all.
    """
    source, names, lines = run.source(part), names_of(run), []
    evaluator = RelationEvaluator(names, entity_ap=False)
    count, size = min(images, source.examples), run.train['eval_batch_size']
    for number in range(count):
        if number % size == 0:
            batch = source[number // size]
        scene = truth_of(batch, number % size)
        (found,) = find([scene.image])
        evaluator.add_image(scene, found)
        right, true = (evaluator.images()[-1][key] for key in ('wholly_right', 'relations'))
        best = surest(found, 0.0, true)
        pair = [draw(scene.image, shown, names, limit=max(true, 1)) for shown in (scene, best)]
        titles = [f'{part} {number}: {true} true', f'found: {right} of {true} wholly right']
        write_picture(output / f'{part}_{number:03d}.png', side_by_side(pair, titles))
        lines.append(f'{part} {number}: {right} of {true} triplets wholly right')
    every = evaluator.images()
    right, true = (sum(image[key] for image in every) for key in ('wholly_right', 'relations'))
    return [*lines, f'{right} of {true} triplets of {count} scenes are wholly right']
