"""Pictures of people: readers, captions, near-duplicates, and the sets of equation (4)."""
