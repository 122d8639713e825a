"""What ATC will say of a model, before ATC is asked."""
