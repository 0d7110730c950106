"""OneRec's whole pipeline on the simulated world of sessions: 5,000 users, 2,000 items, 100,000 requests.

jaxrec onerec pipeline --config=configs/onerec/pipeline.py --workdir=runs/onerec
"""

from jaxrec.models.onerec.simulated import pipeline_config

get_config = pipeline_config
