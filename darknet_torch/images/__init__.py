"""Images: reading them, Darknet's resizing and the way back, drawing boxes on them."""
