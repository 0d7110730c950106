"""AGE's online experiment (arXiv 2112.11136, section 5.3) on a simulated feed into which new items arrive.

    jaxrec age online --config=configs/age/online.py --workdir=runs/age_online
    jaxrec age online --config=configs/age/online.py:still --workdir=runs/age_online_still

The world is that of configs/age/simulated.py in six days, with click rates three times as high and a category of each
item. It was fixed when AGE had been seen to lead there, on a seed that the experiment does not have. In `still` no item
arrives; see `jaxrec.models.age.online.simulated`.
"""

from jaxrec.models.age.online.simulated import get_config as get_config
