"""Training regions that are warped, each by itself: batches of regions, the step on them."""
