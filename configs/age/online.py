"""AGE's online experiment (arXiv 2112.11136, section 5.3) on a simulated feed into which new items arrive.

    jaxrec age online --config=configs/age/online.py --workdir=runs/age_online
    jaxrec age online --config=configs/age/online.py:still --workdir=runs/age_online_still

`still` is the world in which no item arrives: nothing is new or explored, and B has no reason to win. The paper
explores items below 3,000 impressions, of the 10,000 that an item needs there to be learned; here an item that is shown
like all others ends with some 600, so the limit is scaled. The world is that of configs/age/simulated.py in six days,
with click rates three times as high and a category of each item: all its visits are answered, and not one in 38. It was
fixed when AGE had been seen to lead there, on a seed that the experiment does not have.
"""

from jaxrec.models.age.online.simulated import get_config as get_config
