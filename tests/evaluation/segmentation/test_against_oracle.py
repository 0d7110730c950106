"""Every figure of relation segmentation against an independent slow judge, on 1,000 random small cases."""

import math

import numpy as np
import pytest

from jaxrec.data.images.agents import Agents
from jaxrec.evaluation.relation_segmentation import RelationEvaluator, judge_roles, role_ap
from tests.evaluation.segmentation.cases import PERSON, VOCABULARY, random_image
from tests.oracles import relation_segmentation as oracle

CASES = 1000
AT = {25: 0.25, 50: 0.5, 75: 0.75}


def same(value, expected):
    return math.isnan(value) if expected is None else value == pytest.approx(float(expected), abs=1e-12)


@pytest.fixture(scope='module')
def cases():
    """Of each case the figures, and its images as the oracle wants them; every case has one or two images."""
    draw, made = np.random.default_rng(7), []
    for _ in range(CASES):
        evaluator = RelationEvaluator(VOCABULARY, cuts=(2, 'G'), entity_ap=False)
        images = [random_image(draw) for _ in range(draw.integers(1, 3))]
        for scene, found, _ in images:
            evaluator.add_image(scene, found)
        made.append((evaluator.compute(), [plain for _, _, plain in images], evaluator.images()))
    return made


def test_the_cases_are_rich(cases):
    figures = [figures for figures, _, _ in cases]
    for key in ('recall_G_50', 'recall_2_50_parts', 'challenge_50', 'part_miou'):
        values = np.array([each[key] for each in figures])
        assert (values > 0).sum() > 100 and (values < 1).sum() > 100
    assert any(each['challenge_50'] != each['challenge_strict_50'] for each in figures if each['challenge'] >= 0)
    assert sum(math.isnan(each['challenge']) for each in figures) > 50


def test_recalls(cases):
    for figures, plain, _ in cases:
        for percent, t in AT.items():
            for cut in (2, 'G'):
                for suffix, parts in (('', False), ('_parts', True)):
                    key = f'recall_{cut}_{percent}{suffix}'
                    assert same(figures[key], oracle.recall(plain, t, cut, parts)), key
                    assert same(figures[f'mean_{key}'], oracle.mean_recall(plain, t, cut, parts)), key


def test_the_challenge_and_its_strict_variant(cases):
    geometric = {VOCABULARY.relations.index(name) for name in VOCABULARY.geometric}
    for figures, plain, _ in cases:
        for strict, name in ((False, 'challenge'), (True, 'challenge_strict')):
            scores, final = oracle.challenge(plain, geometric, range(4), strict)
            assert same(figures[name], final)
            for percent, t in AT.items():
                assert same(figures[f'{name}_geometric_{percent}'], scores[t][0])
                assert same(figures[f'{name}_other_{percent}'], scores[t][1])


def test_causes_and_wholly_right(cases):
    for figures, plain, images in cases:
        found = [oracle.cause(i, relation, 0.5, 100) for i in plain for relation in i['relations']]
        for name in ('missed_entity', 'wrong_pair', 'wrong_relation', 'wrong_part', 'right'):
            share = found.count(name) / len(found) if found else None
            assert same(figures[f'error_{name}'], share)
        wholly = [len(oracle.found_relations(i, 0.5, 'G', parts=True, strict=True)) for i in plain]
        assert [each['wholly_right'] for each in images] == wholly


def test_parts_of_the_relations_that_are_found_and_have_some(cases):
    defined = 0
    for figures, plain, _ in cases:
        told = [oracle.cause(i, r, 0.5, 100) for i in plain for r in i['relations'] if r[3]]
        found = told.count('right') + told.count('wrong_part')
        defined += found > 0
        assert same(figures['parts_given_relation'], told.count('right') / found if found else None)
    assert 100 < defined < CASES


def test_part_miou(cases):
    for figures, plain, _ in cases:
        assert same(figures['part_miou'], oracle.part_miou([image['parts'] for image in plain], 2))


def test_role_ap():
    draw, seen = np.random.default_rng(8), 0
    for _ in range(300):
        judged, plain = [], []
        for _ in range(draw.integers(1, 4)):
            scene, found, image = random_image(draw)
            rows = np.flatnonzero(scene.categories == PERSON)
            known = draw.random(len(rows)) < 0.8
            deeds = np.array([r for r in scene.relations if r[0] in rows[known]], np.int32).reshape(-1, 3)
            deeds[draw.random(len(deeds)) < 0.3, 1] = -1
            judged.append(judge_roles(scene, Agents(rows, known, deeds), found, PERSON))
            agents = list(zip(rows.tolist(), known.tolist(), strict=True))
            plain.append(image | {'agents': agents, 'deeds': deeds.tolist()})
        if not any(image['deeds'] for image in plain):
            continue
        seen += 1
        for scenario in (1, 2):
            for kind, value in enumerate(role_ap(judged, 4, scenario)):
                assert same(value, oracle.role_ap(plain, kind, scenario, PERSON, 0.5))
    assert seen > 150
