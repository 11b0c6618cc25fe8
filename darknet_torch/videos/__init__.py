"""Videos, cameras and streams: frames read, detected, tracked, counted, drawn, written, served."""
