# make demo    the whole pipeline on drawn pets in a few minutes, in a temporary folder; no network after the install
#              make demo NAME=faster SET=train_classifier.learning_rate=0.003: the same, under a name, with a change
# make repro   the real thing: downloads Oxford-IIIT Pets, trains with the chapter's hyperparameters
# make ui      MLflow on http://127.0.0.1:5000, with every checkpoint that DVC has in a commit or an experiment
# make bench   speed and memory against the chapter's way, on the real pets: an hour or more, benchmarks/README.md
# make test, make lint, make lock (requirements*.in -> requirements*.txt), make clean

PYTHON ?= python3
PORT ?= 5000
NAME ?= demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)

DEMO := $(shell cat demo.params) $(SET)
REPORTED := data/metrics/segmenter.json data/metrics/classifier.json data/metrics/training.json

.PHONY: demo repro ui bench test lint lock clean

demo: .venv/installed
	@python -m pipeline.recover
	@dvc exp remove --quiet $(NAME) 2>/dev/null || true
	dvc exp run --quiet --temp --name $(NAME) $(addprefix --set-param ,$(DEMO))
	@rm -rf demo/$(NAME) && mkdir -p demo
	@dvc get --quiet . data/plots --rev $(NAME) --out demo/$(NAME)
	@dvc metrics diff HEAD $(NAME) --all --no-path --precision 3 --targets $(REPORTED) 2>/dev/null
	@echo "Test split of the embedded pets. Guessing: accuracy 0.58, mean IoU 0.21. Figures: demo/$(NAME)/"
	@echo "Next: make ui"

repro: .venv/installed
	python -m pipeline.recover
	dvc repro
	-@python -m pipeline.tracking sync

ui: .venv/installed
	-@python -m pipeline.tracking sync --all-commits
	@case "$$MLFLOW_TRACKING_URI" in \
		http*) echo "MLFLOW_TRACKING_URI names a server: open it in the browser" ;; \
		*) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port $(PORT) \
			--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}" ;; \
	esac

bench: .venv/installed
	dvc repro --quiet preprocess_segmenter preprocess_classifier
	python -m benchmarks

test: .venv/installed
	python -m pytest

lint: .venv/installed
	ruff check .
	ruff format --check .
	actionlint
	zizmor --quiet --offline .github

lock: .venv/installed
	for name in requirements requirements-dev; do uv pip compile --quiet --universal --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" $$name.in --output-file $$name.txt || exit; done

clean:
	rm -rf .training demo dvc_plots dvc.lock.broken .dvc/tmp/exps/standalone .pytest_cache .ruff_cache .hypothesis

# NVIDIA's libraries too, where there is a GPU of theirs: without them TensorFlow trains on the CPU and says so nowhere.
# Of these the newest that TensorFlow allows: requirements.txt is the same with and without a GPU.
.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; choose one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(^:%=--requirement %)
	@if command -v nvidia-smi >/dev/null; then set -x; \
		.venv/bin/pip install --quiet --disable-pip-version-check "tensorflow[and-cuda]" --constraint requirements.txt; fi
	@touch $@
