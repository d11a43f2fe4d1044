"""Training a region classifier: images with ground truth and proposals -> a checkpoint."""
