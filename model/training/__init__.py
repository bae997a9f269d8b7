"""What the training of any task shares: the loop, its arguments, processes, logs and command line.

A task derives from `splits.SplitsLoop`, and hands its options to `command.run_command`:
`model.train_forecast` and `model.train_regression` do.
"""
