"""The official data set: its two archives and where they are published. params.yaml holds their checksums."""

ARCHIVES = (
    "annotations",
    "images",
)  # NAME.tar.gz, NAME_sha256 in params.yaml; the small one first: errors show at once
PLACES = ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/", "https://thor.robots.ox.ac.uk/~vgg/data/pets/")
