"""Pictures of users and those that we annotated, what a network finds in them, and how it is drawn."""
