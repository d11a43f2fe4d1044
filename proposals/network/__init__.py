"""MultiBox: a network that looks at an image once and proposes boxes with their objectness."""
