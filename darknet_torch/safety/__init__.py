"""What other people's texts, files and folders cannot do here: it stands below all the rest."""
