"""A prediction of the time that a model takes on a 310P3."""
