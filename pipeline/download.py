"""Stage download: the two archives of Oxford-IIIT Pets as published, checked by SHA-256, or the embedded pets.

    python -m pipeline.download
    PETS_SOURCE=/mnt/pets python -m pipeline.download    # a folder or an http(s) URL that holds the two archives

Reads:  params.yaml (download), the environment (PETS_SOURCE), the network or a folder
Writes: data/raw/images.tar.gz, data/raw/annotations.tar.gz
Keeps:  .downloads/, what was verified or is unfinished, so that no rerun transfers it again
"""

import shutil
from pathlib import Path

from pipeline.data import embedded, official
from pipeline.data.transfer import fetch
from pipeline.inputs import unchanged
from pipeline.outputs import replacing
from pipeline.params import Download, load_params
from pipeline.paths import RAW
from pipeline.stage import run


def download() -> None:
    """Fetch or draw both archives into data/raw. Raises InputError with one line for whatever is in the way."""
    with unchanged("download"), replacing(RAW) as folder:
        folder.mkdir()
        params = load_params().download
        if params.dataset == "embedded":
            embedded.draw(folder)
        else:
            _fetch_all(params, folder)


def _fetch_all(params: Download, folder: Path) -> None:
    for name in official.ARCHIVES:
        archive = fetch(f"{name}.tar.gz", getattr(params, f"{name}_sha256"))
        target = folder / f"{name}.tar.gz"
        try:
            target.hardlink_to(archive)
        except OSError:  # another file system, or one without links
            shutil.copyfile(archive, target)


if __name__ == "__main__":
    run(download)
