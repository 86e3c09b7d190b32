"""All benchmarks of speed and memory, in one table: benchmarks/results/bench_POLICY.md, by what `mixed` is here.

    make bench       an hour on 2 cores

Needs `dvc repro preprocess_segmenter preprocess_classifier` of real pets. The table is written anew after each of them.
"""

from benchmarks import experiments, memory, predicting, preparing, starting, training
from benchmarks.measure import RESULTS, in_process, table
from pipeline.training.devices import keras_policy

if __name__ == "__main__":
    path = RESULTS / f"bench_{keras_policy('mixed')}.md"
    path.parent.mkdir(exist_ok=True)
    rows: list[dict[str, str]] = []
    for benchmark in (training, preparing, experiments, starting, predicting, memory):
        rows += in_process(benchmark.measure)
        path.write_text(table(rows))
    print(table(rows))
