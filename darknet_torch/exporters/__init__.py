"""Networks as files of other programs: one file of this folder for each format."""
