"""Selective search: an image -> boxes of its regions, by grouping superpixels. No torch."""
