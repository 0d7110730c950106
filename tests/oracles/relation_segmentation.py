"""Relation segmentation judged the slow way: sets of pixels, one comparison after another, exact fractions.

Written from the rules alone and without an import of the project. An image is a dict:
  truth: [(class, frozenset of pixels)], relations: [(subject, object, kind, frozenset of parts)],
  found: [(class, frozenset of pixels)], triplets: [(subject, object or -1, kind, frozenset of parts, score)].
"""

from fractions import Fraction


def iou(first, second):
    either = len(first | second)
    return Fraction(len(first & second), either) if either else Fraction(0)


def sorted_triplets(image):
    """By falling score, of equal scores the earlier first."""
    return sorted(image['triplets'], key=lambda triplet: -triplet[4])


def overlap(image, relation, triplet):
    """Smaller IoU of subjects and objects; 0 where a class differs."""
    values = []
    for true, guessed in zip(relation[:2], triplet[:2], strict=True):
        if guessed == -1 or image['truth'][true][0] != image['found'][guessed][0]:
            return Fraction(0)
        values.append(iou(image['truth'][true][1], image['found'][guessed][1]))
    return min(values)


def hits(image, relation, triplet, threshold, parts):
    if relation[2] != triplet[2] or overlap(image, relation, triplet) < threshold:
        return False
    return not parts or relation[3] == triplet[3]


def found_relations(image, threshold, limit, parts=False, strict=False):
    """Numbers of the true relations that the best predictions find."""
    limit = len(image['relations']) if limit == 'G' else limit
    kept = sorted_triplets(image)[:limit]
    if not strict:
        return {
            n
            for n, relation in enumerate(image['relations'])
            if any(hits(image, relation, triplet, threshold, parts) for triplet in kept)
        }
    taken = set()
    for triplet in kept:
        best, best_overlap = None, None
        for n, relation in enumerate(image['relations']):
            if n not in taken and hits(image, relation, triplet, threshold, parts):
                value = overlap(image, relation, triplet)
                if best is None or value > best_overlap:
                    best, best_overlap = n, value
        if best is not None:
            taken.add(best)
    return taken


def recall(images, threshold, limit, parts=False, strict=False, kinds=None):
    """Mean over images of the share found, or None; `kinds` restricts the true relations."""
    shares = []
    for image in images:
        inside = [n for n, r in enumerate(image['relations']) if kinds is None or r[2] in kinds]
        if inside:
            found = found_relations(image, threshold, limit, parts, strict)
            shares.append(Fraction(len([n for n in inside if n in found]), len(inside)))
    return sum(shares) / len(shares) if shares else None


def mean_recall(images, threshold, limit, parts=False):
    kinds = {relation[2] for image in images for relation in image['relations']}
    values = [recall(images, threshold, limit, parts, kinds={kind}) for kind in sorted(kinds)]
    return sum(values) / len(values) if values else None


def challenge(images, geometric, all_kinds, strict=False):
    """({threshold: (geometric, other)}, final score or None)."""
    scores, means = {}, []
    for threshold in (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)):
        pair = tuple(
            recall(images, threshold, 100, strict=strict, kinds=kinds)
            for kinds in (set(geometric), set(all_kinds) - set(geometric))
        )
        scores[threshold] = pair
        means.append(None if None in pair else (pair[0] + pair[1]) / 2)
    return scores, None if None in means else sum(means) / 3


def cause(image, relation, threshold, limit):
    """The first thing that goes wrong with a true relation."""
    for true in relation[:2]:
        label, pixels = image['truth'][true]
        if not any(c == label and iou(pixels, p) >= threshold for c, p in image['found']):
            return 'missed_entity'
    joined = [t for t in sorted_triplets(image)[:limit] if overlap(image, relation, t) >= threshold]
    if not joined:
        return 'wrong_pair'
    named = [triplet for triplet in joined if triplet[2] == relation[2]]
    if not named:
        return 'wrong_relation'
    return 'right' if any(triplet[3] == relation[3] for triplet in named) else 'wrong_part'


def role_ap(images, kind, scenario, person, threshold):
    """AP of one kind of relation, or None.

    Images further hold `agents`: [(row, whether known)] and `deeds`: [(row, object or -1, kind)].
    """
    total = sum(deed[2] == kind for image in images for deed in image['deeds'])
    if not total:
        return None
    judged = []
    for image in images:
        done = set()
        for subject, target, relation, _, score in sorted_triplets(image):
            if relation != kind or image['found'][subject][0] != person:
                continue
            right, ignored = False, False
            values = [iou(image['truth'][row][1], image['found'][subject][1]) for row, _ in image['agents']]
            if values:
                row, known = image['agents'][values.index(max(values))]
                ignored = not known
                if known and max(values) >= threshold:
                    options = []
                    for n, (agent, true, what) in enumerate(image['deeds']):
                        if agent != row or what != kind or n in done:
                            continue
                        if true == -1:
                            fit = Fraction(1 if scenario == 2 or target == -1 else 0)
                        elif target == -1:
                            fit = Fraction(0)
                        else:
                            fit = iou(image['truth'][true][1], image['found'][target][1])
                        options.append((-fit, n))
                    if options and -min(options)[0] >= threshold:
                        done.add(min(options)[1])
                        right = True
            if not ignored:
                judged.append((score, right))
    judged = sorted(judged, key=lambda pair: -pair[0])
    precisions, found = [], 0
    for n, (_, right) in enumerate(judged, 1):
        found += right
        precisions.append(Fraction(found, n))
    return sum((max(precisions[n:]) for n, (_, right) in enumerate(judged) if right), Fraction(0)) / total


def part_miou(maps, parts):
    """Mean IoU of the parts 1..parts that the truth holds; maps are (truth, found) lists of pixels."""
    values = []
    for part in range(1, parts + 1):
        both = either = true = 0
        for truth, found in maps:
            for t, f in zip(truth, found, strict=True):
                if t != 255:
                    true += t == part
                    both += t == part == f
                    either += part in (t, f)
        if true:
            values.append(Fraction(both, either))
    return sum(values) / len(values) if values else None
