#!/usr/bin/env python3
"""COCO's annotations as Darknet's labels, as `darknet-torch data convert` writes them.

python tools/coco_to_darknet.py annotations/instances_val2017.json -o FOLDER
"""

import sys

from darknet_torch.cli import main

if __name__ == "__main__":
    options = ["--format", "coco", "--to", "darknet"]
    sys.exit(main(["data", "convert", *sys.argv[1:], *options]))
