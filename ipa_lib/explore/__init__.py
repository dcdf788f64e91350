"""The page of notebooks/explore.ipynb."""
