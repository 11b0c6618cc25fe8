"""Training: losses of all layers, solver, augmentation, the loop."""
