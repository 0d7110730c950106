"""OneRec, session-wise: retrieval and ranking by one generator of semantic IDs (arXiv 2502.18965)."""

from jaxrec.models.onerec.semantic_ids import SemanticIds as SemanticIds
from jaxrec.models.onerec.tokenizer import Codebooks as Codebooks
from jaxrec.models.onerec.tokenizer import fit_codebooks as fit_codebooks
