"""Text of cfgs and their kin: sections, options, numbers as C reads them, the forks as data."""
