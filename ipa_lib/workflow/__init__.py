"""Profiles, paths, and the execution of notebooks as stages."""
