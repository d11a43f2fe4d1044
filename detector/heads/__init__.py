"""Last layers from elsewhere: ImageNet's outputs as other classes, and a second head on a trunk that ships already."""
