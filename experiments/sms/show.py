"""Draws what a trained network finds in the first scenes of a part beside what is true of them.

    python -m experiments.sms.show --workdir=runs/sms --output=runs/sms/pictures --images=20

Each picture has the truth on the left and, on the right, as many of the best predictions as there are true
relations; its title says how many of these are wholly right: classes, both masks at an IoU of .5 and parts.
"""

from pathlib import Path

from absl import app, flags

from experiments.building import Experiment, build, read_config
from experiments.flags import DATA_DIR, MESH, friendly, parse_mesh
from experiments.running import restore_model
from experiments.sms.looking import Finder, make_finder, names_of, surest
from jaxrec.data.images.pixels import write_picture
from jaxrec.evaluation.relation_segmentation import RelationEvaluator
from jaxrec.evaluation.segmentation.drawing import draw, side_by_side
from jaxrec.evaluation.segmentation.found import truth_of

WORKDIR = flags.DEFINE_string('workdir', None, 'Of experiments.train.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes the pictures.', required=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
IMAGES = flags.DEFINE_integer('images', 20, 'How many, the first by index.', lower_bound=1)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores, draws, and says how much is right."""
    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
    names_of(run)
    state, step = restore_model(run, workdir, STEP.value)
    told = show(run, make_finder(run, state, 1), PART.value, IMAGES.value, output)
    print('\n'.join(told))
    print(f'by step {step} of {workdir}')
    print(f'wrote {output}/*.png: the truth on the left, what was found on the right')


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


if __name__ == '__main__':
    app.run(main)
