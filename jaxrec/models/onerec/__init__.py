"""OneRec, session-wise: one generator of semantic IDs with preference alignment (arXiv 2502.18965)."""

from typing import TYPE_CHECKING

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.models.onerec.task import SessionTask as SessionTask
    from jaxrec.models.onerec.task import make_task as make_task
    from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds as SemanticIds
    from jaxrec.models.onerec.tokenizing.tokenizer import Codebooks as Codebooks
    from jaxrec.models.onerec.tokenizing.tokenizer import fit_codebooks as fit_codebooks

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'SessionTask': 'jaxrec.models.onerec.task',
        'make_task': 'jaxrec.models.onerec.task',
        'SemanticIds': 'jaxrec.models.onerec.tokenizing.semantic_ids',
        'Codebooks': 'jaxrec.models.onerec.tokenizing.tokenizer',
        'fit_codebooks': 'jaxrec.models.onerec.tokenizing.tokenizer',
    },
)
