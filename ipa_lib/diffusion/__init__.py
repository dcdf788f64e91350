"""The frozen models and what is done with them: features, training (1) and (4), sampling (2) and (5), galleries."""
