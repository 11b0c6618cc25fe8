"""Networks behind HTTP, with a page to try them."""
