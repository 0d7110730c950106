"""The table of models: every name of every paper's registry has configs that can be built from."""

import pytest
from ml_collections import ConfigDict

from jaxrec.configurable import resolve
from jaxrec.lazy import lazy_names
from jaxrec.models.age import registry as age
from jaxrec.models.can import registry as can
from jaxrec.models.onerec import registry as onerec
from jaxrec.models.sim import registry as sim
from jaxrec.models.sms import registry as sms
from jaxrec.runs.build import build
from jaxrec.runs.models import all_models

REGISTRIES = {'can': can, 'sim': sim, 'age': age, 'onerec': onerec, 'sms': sms}


def test_the_table_holds_each_registry_without_repeating_a_name():
    models = all_models()
    assert list(models) == [model for registry in REGISTRIES.values() for model in registry.MODELS]
    pairs = [(model.name, model.command) for model in models]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize('paper', REGISTRIES)
def test_simulated_configs_name_what_a_config_may_name(paper):
    for model in REGISTRIES[paper].MODELS:
        config = model.simulated()
        assert isinstance(config, ConfigDict), model.name
        resolve(config.data.log, 'log')
        if model.command == 'jaxrec train':
            resolve(config.task, 'task')


@pytest.mark.parametrize('paper', REGISTRIES)
def test_a_folder_without_a_log_is_refused_by_its_path(paper, tmp_path):
    for model in REGISTRIES[paper].MODELS:
        with pytest.raises(ValueError) as error:
            config = model.on_log(str(tmp_path))
            build(config)  # a folder of images is read here, and any log above
        assert str(tmp_path) in str(error.value), model.name


def test_lazy_names_are_found_listed_and_refused():
    find, listed = lazy_names('json', {'JSONDecoder': 'json.decoder'})
    assert find('JSONDecoder').__module__ == 'json.decoder'
    assert {'JSONDecoder', 'dumps'} <= set(listed())
    with pytest.raises(AttributeError, match="'json' has no attribute 'nothing'; it has JSONDecoder"):
        find('nothing')
