"""From the layers of a model to instructions."""
