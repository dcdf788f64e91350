"""The paper's method, equations (3) and (6): attention, merges, projection, adapter, exchange with published ones."""
