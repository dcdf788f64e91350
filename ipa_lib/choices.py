"""The words of an experiment: what a grid, a notebook and the library call their alternatives. Imports nothing."""

MERGES = ("mean", "concat", "weighted", "gated", "sum", "average", "pool")  # the names of merge.MERGES
SLOTS = ("own", "shared", "marked")  # marked: shared matrices, and a learned vector for each slot
PROJECTIONS = ("linear", "mlp", "resampler")  # the names of projection.PROJECTIONS
ORDERS = ("given", "norm")  # which prompt goes to which slot: merge.ORDERS
TARGETS = ("left_out", "shown")  # shown: among its own prompts, the usual practice
WINDOWS = ("window25", "window14", "complementary", "redundant", "roles")  # a part of each prompt: data.windows
FOREIGN = ("foreign1", "foreign2")  # so many of the prompts show another person
OCCLUDED = ("occluded0", "occluded50", "occluded100")  # per cent of the prompts; of drawn faces alone
MOST_PROMPTS = {"complementary": 9, "roles": 4}  # there are so many places
PROMPTS = ("own", "other", "reversed", *WINDOWS, *FOREIGN, *OCCLUDED)  # whose, and in which state; own: whole pictures
VIEWS = ("whole", "mixed", "roles")  # what training shows of a prompt; mixed: all of it or a window, or somebody else
