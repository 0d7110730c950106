"""The stages of SMS: predictions for pictures, pictures of what was found, and the figures of its table."""
