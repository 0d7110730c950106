"""Figures that runs write leave the backend of a notebook alone."""

import matplotlib
import matplotlib.pyplot as plt
import pytest

from jaxrec.runs.row_files import new_figure, save_figure


@pytest.fixture
def svg_backend():
    before = matplotlib.get_backend()
    matplotlib.use('svg')
    yield
    matplotlib.use(before)


def test_a_figure_is_written_without_pyplot(svg_backend, tmp_path):
    figure, axes = new_figure(1, 2, figsize=(4, 2), sharey=True, squeeze=False)
    axes[0, 1].plot([1, 2], [3, 4])
    assert axes.shape == (1, 2) and axes[0, 0].get_ylim() == axes[0, 1].get_ylim()
    save_figure(figure, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
    assert matplotlib.get_backend() == 'svg' and plt.get_fignums() == []
