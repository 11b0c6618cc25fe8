"""Write text with a recurrent network that was trained on characters.

example: darknet-torch generate rnn.cfg rnn.weights --seed "Once upon a time" --length 500
         darknet-torch generate shakespeare --seed "ROMEO"
"""

import argparse
import sys

from darknet_torch.cli.arguments import add_cfg, load_network


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="its weights file")
    parser.add_argument("--seed", default="\n\n", help="the text to continue")
    parser.add_argument("--length", type=int, default=1000, help="bytes to write (%(default)s)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        help="0: the most probable byte (%(default)s)",
    )
    parser.add_argument("--random-seed", type=int, help="makes the choice repeatable")
    parser.set_defaults(names=None)


def run(options: argparse.Namespace) -> int:
    """Print the text as it is generated."""
    network = load_network(options)
    from darknet_torch.inference.generator import generate

    seed = options.seed.encode()
    sys.stdout.buffer.write(seed)
    for byte in generate(
        network,
        seed,
        length=options.length,
        temperature=options.temperature,
        random_seed=options.random_seed,
    ):
        sys.stdout.buffer.write(bytes([byte]))
        sys.stdout.buffer.flush()
    print()
    return 0
