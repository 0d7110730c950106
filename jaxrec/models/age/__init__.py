"""AGE: Adversarial Gradient driven Exploration for deep CTR prediction (KDD 2022, arXiv 2112.11136)."""

from typing import TYPE_CHECKING

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.models.age.explore import make_explore_step as make_explore_step
    from jaxrec.models.age.model import AgeTask as AgeTask
    from jaxrec.models.age.model import make_task as make_task
    from jaxrec.models.age.tuning import tune_lambda as tune_lambda

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'make_explore_step': 'jaxrec.models.age.explore',
        'AgeTask': 'jaxrec.models.age.model',
        'make_task': 'jaxrec.models.age.model',
        'tune_lambda': 'jaxrec.models.age.tuning',
    },
)
