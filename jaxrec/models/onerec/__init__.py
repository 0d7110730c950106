"""OneRec, session-wise: one generator of semantic IDs with preference alignment (arXiv 2502.18965)."""

from jaxrec.models.onerec.task import SessionTask as SessionTask
from jaxrec.models.onerec.task import make_task as make_task
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds as SemanticIds
from jaxrec.models.onerec.tokenizing.tokenizer import Codebooks as Codebooks
from jaxrec.models.onerec.tokenizing.tokenizer import fit_codebooks as fit_codebooks
