"""The words of an experiment: what a grid, a notebook and the library call their alternatives. Imports nothing."""

MERGES = ("mean", "concat", "weighted", "gated", "sum", "average")  # the names of merge.MERGES
SLOTS = ("own", "shared")
PROJECTIONS = ("linear", "mlp", "resampler")  # the names of projection.PROJECTIONS
ORDERS = ("given", "norm")  # which prompt goes to which slot: merge.ORDERS
TARGETS = ("left_out", "shown")  # shown: among its own prompts, the usual practice
PROMPTS = ("own", "other", "reversed", "occluded0", "occluded50", "occluded100")  # whose, and in which state
