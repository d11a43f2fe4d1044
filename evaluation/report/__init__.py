"""Pages that explain a detector's figures, and the same figures as text for the terminal."""
