"""What was verified once is never transferred again, whatever sets the stage going: under real DVC."""

import shutil
from pathlib import Path

import pytest

from pipeline.download import download
from tests.download.server import ARCHIVES, CHECKSUMS, IMAGES, VERIFIED, final, other_bytes, ranges
from tests.helpers.project import REPOSITORY, run_in, write_params


@pytest.fixture
def project(folder, workspace):
    """A DVC project in the working directory that has downloaded ARCHIVES; their source is gone."""
    shutil.copy(REPOSITORY / ".dvcignore", ".")
    run_in(Path(), "dvc", "init", "--quiet", "--no-scm")
    run_in(Path(), "dvc", "repro", "download", PETS_SOURCE=str(folder))
    shutil.rmtree(folder)


@pytest.mark.slow
def test_neither_force_nor_embedded_pets_and_back_transfer_again(project):
    done = run_in(Path(), "dvc", "repro", "--force", "download", PETS_SOURCE="/no/such/pets")
    assert (done.stderr, final()) == ("", ARCHIVES)
    assert " from " not in done.stdout

    write_params(Path(), download=CHECKSUMS | {"dataset": "embedded"})
    run_in(Path(), "dvc", "repro", "download")
    assert final().keys() == ARCHIVES.keys()
    assert final() != ARCHIVES
    write_params(Path(), download=CHECKSUMS)
    run_in(Path(), "dvc", "repro", "--no-run-cache", "download", PETS_SOURCE="/no/such/pets")
    assert final() == ARCHIVES


def test_an_edit_of_the_code_that_transfers_does_not_set_the_stage_going(project):
    for name in ("download.py", "data/transfer.py", "data/embedded.py"):
        with Path("pipeline", name).open("a") as file:
            file.write("# edited\n")
    assert "up to date" in run_in(Path(), "dvc", "status", "download").stdout


def test_a_damaged_archive_is_fetched_again_and_not_written_to(serve):
    """DVC's cache may be a link to the same file."""
    serve(ranges)
    download()
    VERIFIED.unlink()
    VERIFIED.write_bytes(IMAGES[:-1] + b"x")
    Path("linked").hardlink_to(VERIFIED)
    download()
    assert final() == ARCHIVES
    assert VERIFIED.read_bytes() == IMAGES
    assert Path("linked").read_bytes() == IMAGES[:-1] + b"x"


def test_an_archive_is_copied_where_it_cannot_be_linked(serve, monkeypatch):
    def no_links(self, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    server = serve(ranges, other_bytes)
    for _ in range(2):
        download()
        assert final() == ARCHIVES
    assert server.asked == [None]
