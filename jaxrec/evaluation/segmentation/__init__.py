"""Relation segmentation evaluated: on host numpy, from plain truths and predictions of one image each.

`jaxrec.evaluation.relation_segmentation` offers the evaluator of a task, and these functions again.
"""
