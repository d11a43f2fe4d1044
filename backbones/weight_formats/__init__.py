"""The files and names in which others keep GoogLeNet's weights, read into state dicts of ours."""
