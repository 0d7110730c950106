"""Readers of annotated images: Person in Context and V-COCO."""
