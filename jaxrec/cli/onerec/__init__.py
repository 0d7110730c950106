"""The group `jaxrec onerec`: tokenize, reward, align, and all of them as a pipeline."""
