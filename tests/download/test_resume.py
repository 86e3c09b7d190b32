"""A broken transfer is continued, and whatever happened, the right bytes come out."""

import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from pipeline.download import download
from tests.download.server import (
    ARCHIVES,
    HALF,
    IMAGES,
    PART,
    WAY_OUT,
    breaks_off,
    failure,
    final,
    ignores_range,
    page,
    ranges,
    stalls,
    status,
    wait_for_bytes,
)
from tests.helpers.project import start_stage


def test_the_next_run_asks_only_for_the_rest(serve):
    server = serve(breaks_off, breaks_off, ranges)
    sizes = [0]
    for _ in range(2):
        line = failure("images.tar.gz", server.url, "broke off", f"of {len(IMAGES):,} bytes are kept", *WAY_OUT)
        sizes.append(PART.stat().st_size)
        assert f"{sizes[-1]:,} of" in line
    download()
    assert final() == ARCHIVES
    assert 0 < sizes[1] < sizes[2]
    assert server.asked == [None, f"bytes={sizes[1]}-", f"bytes={sizes[2]}-"]
    assert [name for name, _ in server.requests].count("annotations.tar.gz") == 1  # it was there already


def test_the_second_place_goes_on_where_the_first_broke_off(serve, places):
    first, second = serve(breaks_off), serve(ranges)
    places(first.url, second.url)
    download()
    assert final() == ARCHIVES
    assert re.fullmatch(r"bytes=[1-9]\d+-", second.asked[0])


def test_a_folder_after_a_broken_transfer(folder, part):
    part(b"x" * HALF)
    download()
    assert final() == ARCHIVES


@pytest.mark.parametrize("answer", [ranges, ignores_range])
@pytest.mark.parametrize(
    "old",
    [IMAGES[:HALF], b"x" * HALF, b"x" * len(IMAGES), IMAGES + b"x", b"x" * len(IMAGES) * 2, b""],
    ids=["right", "wrong", "wrong and whole", "one too long", "far too long", "empty"],
)
def test_whatever_lies_in_the_part_file_the_right_bytes_come_out(serve, part, answer, old):
    server = serve(answer)
    part(old)
    download()
    assert final() == ARCHIVES
    assert len(server.asked) <= 2


def test_a_complete_part_file_is_not_asked_for(serve, part):
    server = serve(status(500))
    part(IMAGES)
    download()
    assert final() == ARCHIVES
    assert server.asked == []


def test_bytes_of_other_data_are_never_continued(serve, part):
    server = serve(ranges)
    part(b"x" * HALF)
    other = PART.rename(PART.with_name("0123456789ab-images.tar.gz.part"))
    download()
    assert server.asked == [None]
    assert other.stat().st_size == HALF


def test_a_page_does_not_cost_the_bytes_so_far(serve, part):
    serve(page)
    part(IMAGES[:HALF])
    failure("a web page instead of an archive")
    assert PART.read_bytes() == IMAGES[:HALF]


def test_ctrl_c_keeps_the_bytes_so_far(serve):
    server = serve(stalls, ranges)

    def press():
        wait_for_bytes()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        download()
    assert final() == {}
    download()
    assert final() == ARCHIVES
    assert re.fullmatch(r"bytes=[1-9]\d+-", server.asked[1])


def test_two_at_once_do_not_mix_and_the_second_goes_on_after_a_kill_of_the_first(serve, tmp_path):
    """In different folders, as experiments have them: they share what was transferred."""
    server = serve(stalls, ranges)
    shutil.copytree(tmp_path / "pipeline", tmp_path / "copy/pipeline")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(name, "copy")
    first = start_stage(tmp_path / "copy", "download", PETS_SOURCE=server.url, DVC_ROOT=str(tmp_path))
    wait_for_bytes()
    second = start_stage(tmp_path, "download", PETS_SOURCE=server.url)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    assert len(server.asked) == 1, "the second waits"
    first.kill()
    first.communicate()
    assert second.communicate(timeout=30)[1] == ""
    assert final() == ARCHIVES
    assert re.fullmatch(r"bytes=[1-9]\d+-", server.asked[1])
