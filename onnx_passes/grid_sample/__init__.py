"""The mathematics behind decompose-grid-sample."""
