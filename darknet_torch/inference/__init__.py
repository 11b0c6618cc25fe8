"""Images through a network: detections, classes, text; and converted files in place of networks."""
