"""Our trunks beside torchvision's and timm's with the same random weights; skipped where these are absent.

pip install torch torchvision timm safetensors
python -m pytest tests/models/sms/weights/test_published_weights.py
"""

import jax
import numpy as np
import pytest

from jaxrec.models.sms.network.backbones import TRUNKS, make_trunk
from jaxrec.models.sms.network.layers import Style, When
from jaxrec.models.sms.weights.convert import convert
from jaxrec.models.sms.weights.torch_files import read_tensors


def stages(torch, model, name, image):
    """The maps of strides 4, 8, 16 and 32."""
    if name == 'dla34':
        x, found = model.level1(model.level0(model.base_layer(image))), []
        for level in (model.level2, model.level3, model.level4, model.level5):
            x = level(x)
            found.append(x)
        return found
    x, found = model.maxpool(model.relu(model.bn1(model.conv1(image)))), []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
        found.append(x)
    return found


def published(torch, name):
    if name == 'dla34':
        return pytest.importorskip('timm').create_model('dla34', pretrained=False)
    return getattr(pytest.importorskip('torchvision').models, name)(weights=None)


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'dla34'])
@pytest.mark.parametrize('old', [False, True])
def test_features_are_the_same(name, old, tmp_path):
    torch = pytest.importorskip('torch')
    if old and name != 'resnet18':
        pytest.skip('the older format is the same for all')
    torch.manual_seed(0)
    model = published(torch, name)
    with torch.no_grad():
        for key, x in model.state_dict().items():  # statistics that are not those of a new network
            if key.endswith('running_mean'):
                x.normal_(0, 0.1)
            elif key.endswith('running_var'):
                x.uniform_(0.5, 1.5)
    path = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not old)
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    with torch.no_grad():
        want = stages(torch, model.eval(), name, torch.from_numpy(image.transpose(0, 3, 1, 2)))
    trunk = make_trunk(TRUNKS[name], Style())
    shapes = jax.eval_shape(lambda: trunk.init(jax.random.key(0), image, When()))
    variables, report = convert(shapes, read_tensors(path))
    assert all('fc.' in x or x.endswith('num_batches_tracked') for x in report.left)
    found = jax.jit(lambda variables, image: trunk.apply(variables, image, When()))(variables, image)
    assert len(found) == len(want)
    for ours, theirs in zip(found, want, strict=True):
        theirs = theirs.numpy().transpose(0, 2, 3, 1)
        assert np.abs(ours - theirs).max() <= 1e-4 * max(1, np.abs(theirs).max())
