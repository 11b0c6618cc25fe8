#!/usr/bin/env python3
"""Convert a network: `python tools/convert.py CFG WEIGHTS -o FILE`, as `darknet-torch convert`."""

import sys

from darknet_torch.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
