"""Writing scenes as a folder of images; the format is in `records`."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.images.pixels import rle_encode, write_picture
from jaxrec.data.images.records import ANNOTATIONS, FORMAT, VERSION, read_split
from jaxrec.data.images.scene import Scene, Vocabulary


def write_folder(folder: str | Path, vocabulary: Vocabulary, scenes: Iterable[Scene], splits: Iterable[str]) -> None:
    """Writes scenes as a folder of images: PNGs of pixels and ids, run lengths for masks that overlap.

    Files are named by the order of the scenes; `splits` names the part of each.

    Raises:
      ValueError: the folder holds annotations, the vocabulary has no relations, or a scene does not fit it.
    """
    folder = Path(folder)
    path = folder / ANNOTATIONS
    if not vocabulary.relations:
        raise ValueError(f'{folder} would have no relations, and could not be read: give the vocabulary some')
    if path.exists():
        raise ValueError(f'{path} exists and will not be overwritten: give another folder')
    entries = []
    for number, (scene, split) in enumerate(zip(scenes, splits, strict=True)):
        scene.check(vocabulary)
        entries.append(_write_scene(folder, vocabulary, scene, f'{number:06d}.png') | {'split': split})
        read_split(entries[-1], f'scene {number}')
    names = dataclasses.asdict(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'format': FORMAT, 'version': VERSION, **names, 'images': entries}, indent=1))


def _write_scene(folder: Path, vocabulary: Vocabulary, scene: Scene, name: str) -> dict[str, Any]:
    """Writes the files of a scene; returns its entry."""
    entry: dict[str, Any] = {'file': f'images/{name}', 'parts': f'parts/{name}'}
    write_picture(folder / entry['file'], scene.image)
    write_picture(folder / entry['parts'], scene.parts)
    overlapping = scene.masks.sum(0) > 1
    apart = [not (mask & overlapping).any() for mask in scene.masks]
    if any(apart):
        entry['instances'] = f'masks/{name}'
        ids = sum(np.int32(i + 1) * mask for i, mask in enumerate(scene.masks) if apart[i])
        write_picture(folder / entry['instances'], np.asarray(ids))
    entry['entities'] = [
        {'id': i + 1, 'class': vocabulary.entities[category]}
        | ({} if apart[i] else {'mask': rle_encode(scene.masks[i])})
        for i, category in enumerate(scene.categories.tolist())
    ]
    entry['relations'] = [
        {
            'subject': subject + 1,
            'object': target + 1,
            'relation': vocabulary.relations[relation],
            'parts': [vocabulary.parts[part] for part in np.flatnonzero(taking)],
        }
        for (subject, target, relation), taking in zip(scene.relations.tolist(), scene.relation_parts, strict=True)
    ]
    return entry
