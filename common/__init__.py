"""What every folder may use, and what knows nothing of models or hardware."""
