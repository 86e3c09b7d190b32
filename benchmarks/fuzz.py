"""Give preprocess archives that are broken or mean harm: each must end in a result or in one clear line.

    python -m benchmarks.fuzz [--cases 6000] [--seed 4] [--kind NAME]      6 minutes on 2 cores

The cases are those of tests/hostile, drawn by hypothesis, each kind in a process of its own. Memory is what that
process has at its worst over what it has after a good case; stated are 1 GiB and 1 GiB for each core. A case that ends
otherwise is shrunk and shown, its two archives are left in a folder under /tmp, and the exit status is 1.
"""

import argparse
import faulthandler
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from joblib import cpu_count

from benchmarks.measure import peak_memory
from tests.hostile.case import Case, ends_well
from tests.hostile.kinds import GOOD, KINDS
from tests.hostile.limits import LIMITS

ALL_KINDS = KINDS | {"at the limits": st.sampled_from(sorted(LIMITS)).map(lambda name: LIMITS[name]())}
COLUMNS = ["kind", "cases", "results", "refused in one line", "anything else"]
COLUMNS += ["worst memory (MiB over idle)", "worst time (s)"]
SECONDS = 300  # for a case, then its process ends
MEBIBYTES = 1024 * (1 + cpu_count())


def run_kind(kind: str, cases: int, seed_of_cases: int) -> bool:
    """Print the kind's row. Returns whether all of its cases ended well and within the memory that is stated."""
    ends_well(GOOD)
    idle, folder = peak_memory(), Path(mkdtemp(prefix="fuzz-"))
    endings: list[str] = []
    seconds: list[float] = []

    @seed(seed_of_cases)
    @settings(max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ALL_KINDS[kind])
    def check(case: Case) -> None:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        case.write(folder)  # hypothesis shows the smallest failure last
        began = time.perf_counter()
        endings.append("other")
        endings[-1] = ends_well(case)
        seconds.append(time.perf_counter() - began)

    try:
        check()
    except Exception as error:
        print(f"{kind}: {error!r}; the archives are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    faulthandler.cancel_dump_traceback_later()
    counts = [endings.count(ending) for ending in ("result", "refused", "other")]
    worst = [round(peak_memory() - idle), round(max(seconds, default=0), 1)]
    print("|", " | ".join(map(str, [kind, len(endings), *counts, *worst])), "|")
    return "other" not in endings and worst[0] < MEBIBYTES


def start_kind(kind: str, cases: int, seed_of_cases: int) -> bool:
    """The same in a process of its own."""
    arguments = ["--kind", kind, "--cases", str(cases), "--seed", str(seed_of_cases)]
    done = subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *arguments], capture_output=True, text=True)
    print(done.stdout or f"| {kind} | died | | | 1 | | |\n", end="", flush=True)
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=6000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--kind", choices=ALL_KINDS, help="this one alone, with all the cases")
    chosen = parser.parse_args()
    if chosen.kind:
        sys.exit(not run_kind(chosen.kind, chosen.cases, chosen.seed))
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|", flush=True)
    each = chosen.cases // len(ALL_KINDS)
    with ThreadPoolExecutor(2) as pool:
        ended_well = list(pool.map(lambda kind: start_kind(kind, each, chosen.seed), ALL_KINDS))
    sys.exit(not all(ended_well))


if __name__ == "__main__":
    main()
