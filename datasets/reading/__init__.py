"""What reading has in common, whatever the format: names as people write them, photographs' headers, boxes checked."""
