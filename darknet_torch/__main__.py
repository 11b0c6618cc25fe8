"""The command, as `python -m darknet_torch`, where its folder is not on the path."""

from darknet_torch.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
