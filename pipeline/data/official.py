"""The official data set: its two archives and where they are published. params.yaml holds their checksums."""

ARCHIVES = ("annotations", "images")  # NAME.tar.gz; the small one comes first, so that errors show at once
PLACE = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
