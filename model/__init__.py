"""The CMamba forecaster in PyTorch: model, checkpoints, data sets and training."""
