"""OneRec's reward model on the simulated world of sessions.

jaxrec onerec reward --config=configs/onerec/reward.py --workdir=runs/onerec/reward

It learns from users of its own, none of whom the rows of configs/onerec/simulated.py learn from.
"""

from jaxrec.models.onerec.simulated import reward_on_simulated

get_config = reward_on_simulated
