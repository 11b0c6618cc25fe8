"""From the text of a cfg to typed options: sections, values, and the forks of Darknet as data."""
