#!/usr/bin/env python3
"""Pascal VOC's annotations as Darknet's labels, as `darknet-torch data convert` writes them.

python tools/voc_to_darknet.py VOCdevkit/VOC2007 --split test -o FOLDER
"""

import sys

from darknet_torch.cli import main

if __name__ == "__main__":
    options = ["--format", "voc", "--to", "darknet"]
    sys.exit(main(["data", "convert", *sys.argv[1:], *options]))
