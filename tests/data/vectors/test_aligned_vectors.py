"""Content and behaviour as one vector: their shares, content that stands for behaviour, files in pieces."""

import numpy as np
import pytest

from jaxrec.data.vectors import aligned_vectors
from jaxrec.data.vectors.aligned_vectors import AlignedVectors, Alignment, fit_alignment
from jaxrec.data.vectors.item_vectors import VectorFile


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_both_sides_weigh_what_they_are_given():
    content, behaviour = 100 + 5 * drawn(300, 4), 0.01 * drawn(300, 3, seed=1)
    for share in (0.5, 0.2):
        joined = fit_alignment(content, behaviour, share=share).join(content, behaviour)
        assert joined.shape == (300, 7) and joined.dtype == np.float32
        squares = np.square(joined).sum(1).mean(), np.square(joined[:, 4:]).sum(1).mean()
        assert squares == (pytest.approx(1, rel=1e-3), pytest.approx(share, rel=1e-3))
        np.testing.assert_allclose(joined.mean(0), 0, atol=1e-3)
        np.testing.assert_allclose(  # each side keeps its own geometry
            np.linalg.norm(joined[0, :4] - joined[1, :4]) / np.linalg.norm(content[0] - content[1]),
            np.linalg.norm(joined[2, :4] - joined[3, :4]) / np.linalg.norm(content[2] - content[3]),
            rtol=1e-3,
        )


def test_new_items_lie_where_their_content_says():
    content, turn = drawn(400, 4), drawn(4, 3, seed=1)
    behaviour = 2 + content @ turn + 0.01 * drawn(400, 3, seed=2)
    behaviour[300:] = 0  # new ones
    alignment = fit_alignment(content, behaviour, ridge=1e-6)
    known = behaviour.any(1)
    joined = alignment.join(content, behaviour, known)
    np.testing.assert_array_equal(joined[:300], alignment.join(content[:300], behaviour[:300]))
    np.testing.assert_allclose(joined[300:], alignment.join(content[300:]), rtol=1e-5, atol=1e-6)
    truth = alignment.join(content[300:], 2 + content[300:] @ turn)
    np.testing.assert_allclose(joined[300:], truth, atol=0.02)
    x, y = content[:300] - content[:300].mean(0), behaviour[:300] - behaviour[:300].mean(0)
    penalty = 0.5 * np.square(x).sum() / 4
    want = np.linalg.inv(x.T @ x + penalty * np.eye(4)) @ x.T @ y
    np.testing.assert_allclose(fit_alignment(content, behaviour, ridge=0.5).weights, want, rtol=1e-4)


def test_a_file_brings_the_same_alignment_back(tmp_path):
    content, behaviour = drawn(30, 4), drawn(30, 3, seed=1)
    alignment = fit_alignment(content, behaviour)
    alignment.save(tmp_path / 'a.npz')
    np.testing.assert_array_equal(Alignment.load(tmp_path / 'a.npz').join(content), alignment.join(content))


def test_a_file_in_pieces_is_the_array_at_once(tmp_path, monkeypatch):
    content, behaviour = drawn(50, 4).astype(np.float32), drawn(50, 3, seed=1).astype(np.float32)
    behaviour[[7, 20, 21, 22, 23]] = 0  # a piece without any that is known
    known = behaviour.any(1)
    np.save(tmp_path / 'v.npy', content)
    file = VectorFile(tmp_path / 'v.npy')
    at_once = fit_alignment(content, behaviour)
    monkeypatch.setattr(aligned_vectors, 'BLOCK', 4)
    in_pieces = fit_alignment(file, behaviour)
    for name in ('content_mean', 'behaviour_mean', 'scales', 'weights'):
        np.testing.assert_allclose(getattr(in_pieces, name), getattr(at_once, name), rtol=1e-5, atol=1e-7)
    rows, want = AlignedVectors(at_once, file, behaviour, known), at_once.join(content, behaviour, known)
    assert rows.shape == want.shape == (50, 7)
    for index in (slice(None), slice(18, 25), np.array([0, 7, 49])):
        np.testing.assert_allclose(rows[index], want[index], rtol=1e-6, atol=1e-7)
        assert rows[index].dtype == np.float32


good = fit_alignment(drawn(9, 4), drawn(9, 3, seed=1))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: fit_alignment(drawn(9, 4), drawn(8, 3)), 'content of 9 items, behaviour of 8'),
        (lambda: fit_alignment(drawn(9, 4), drawn(9, 3), np.ones(8, bool)), r'known \(8,\): a row an item'),
        (lambda: fit_alignment(drawn(9, 4), drawn(9, 3), share=1.0), r'share 1\.0, .* a share above 0'),
        (lambda: fit_alignment(drawn(9, 4), drawn(9, 3), ridge=0), 'a ridge above 0'),
        (lambda: fit_alignment(drawn(9, 4), np.zeros((9, 3))), 'no item has known behaviour'),
        (lambda: fit_alignment(np.ones((9, 4)), drawn(9, 3)), 'content and behaviour must both vary'),
        (lambda: good.join(drawn(9, 5)), r'content of shape \(9, 5\): .* of width 4'),
        (lambda: good.join(drawn(9, 4), drawn(9, 2)), r'behaviour of shape \(9, 2\)'),
        (lambda: good.join(drawn(9, 4), drawn(8, 3)), 'content of 9 items, behaviour of 8'),
        (lambda: Alignment(np.ones(2), np.ones(3), np.ones(2), np.ones((3, 2))), 'between widths'),
        (lambda: Alignment(np.ones(2), np.ones(3), np.ones(2), np.full((2, 3), np.inf)), 'not finite: fit'),
        (
            lambda: AlignedVectors(good, drawn(9, 4), drawn(8, 3), np.ones(8, bool)),
            'content of 9 items, behaviour of 8',
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
