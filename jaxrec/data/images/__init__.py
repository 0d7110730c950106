"""Images with the masks, human parts and relations that are true of them."""
