# `make` alone prints the targets. SET takes one or several SECTION.KEY=VALUE of params.yaml.

PYTHON ?= python3
PORT ?= 5000
NAME ?= demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)

DEMO := $(shell cat demo.params) $(SET)
REPORTED := data/metrics/segmenter.json data/metrics/classifier.json

.PHONY: help demo repro ui bench test test-all lint lock clean

help: ## Print this list
	@awk -F ': .*## ' '/^[a-z-]+: .*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

demo: .venv/installed ## Train on drawn pets, in a temporary folder; NAME=... SET=...
	@if git for-each-ref --format='%(subject)' 'refs/exps/*/*/$(NAME)' | grep -qvx 'make demo'; then \
		echo "$(NAME): an experiment that make demo, as it is now, did not make. Keep it and choose another NAME=..., or rename it:" \
		"dvc exp rename $(NAME) OTHER"; exit 1; fi >&2
	@python -m pipeline.recover
	@dvc exp remove --quiet $(NAME) 2>/dev/null || true
	dvc exp run --quiet --temp --name $(NAME) --message 'make demo' $(addprefix --set-param ,$(DEMO))
	@rm -rf demo/$(NAME) && mkdir -p demo
	@dvc get --quiet . data/plots --rev $(NAME) --out demo/$(NAME)
	@base=HEAD; if [ $(NAME) != demo ] && dvc exp list --name-only | grep -qx demo; then base=demo; fi; \
		table=$$(dvc metrics diff $$base $(NAME) --all --no-path --precision 3 --targets $(REPORTED) 2>/dev/null) || \
			{ echo "this fails: dvc metrics diff $$base $(NAME)" >&2; exit 1; }; \
		echo "$$table" | LC_ALL=C sort | if [ $$base = demo ]; then cat; else awk '{printf "%-19s%s\n", $$1, $$3}'; fi
	@echo "Test split of the embedded pets. Guessing: accuracy 0.58, mean IoU 0.21."
	@echo "Pictures and curves: demo/$(NAME)/. Next: make ui"

repro: .venv/installed ## Download Oxford-IIIT Pets, train with params.yaml
	python -m pipeline.recover
	dvc repro
	-@python -m pipeline.tracking sync

ui: .venv/installed ## Serve MLflow: all commits and experiments; PORT=...
	-@python -m pipeline.tracking sync --all-commits
	@case "$$MLFLOW_TRACKING_URI" in \
		http*) python -m pipeline.tracking links "$$MLFLOW_TRACKING_URI" ;; \
		*) python -m pipeline.tracking links http://127.0.0.1:$(PORT) && echo "Ctrl-C ends MLflow" && \
			MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port $(PORT) \
			--uvicorn-opts "--log-level warning" --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}" ;; \
	esac

bench: .venv/installed ## Measure speed and memory on the real pets: an hour or more
	dvc repro --quiet preprocess_segmenter preprocess_classifier
	python -m benchmarks

test: .venv/installed ## Run the quick tests, in minutes: what a change usually breaks
	python -m pytest -m "not slow"

test-all: .venv/installed ## Run all tests; names the Debian packages that it needs
	@python -m tests.helpers.programs
	python -m pytest

lint: .venv/installed ## Check style, workflows and their permissions
	ruff check .
	ruff format --check .
	actionlint
	zizmor --quiet --offline .github

lock: .venv/installed ## Pin what requirements*.in name in requirements*.txt
	for name in requirements requirements-dev; do uv pip compile --quiet --universal --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" $$name.in --output-file $$name.txt || exit; done

clean: ## Remove caches and the demo's output; keeps what was trained
	rm -rf demo dvc_plots .pytest_cache .ruff_cache .hypothesis

# On a machine with an NVIDIA GPU, NVIDIA's libraries are installed too. Without them TensorFlow trains on the CPU and
# says nothing. pip takes the newest that TensorFlow allows: requirements.txt is the same with and without a GPU.
.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; choose one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(^:%=--requirement %)
	@if command -v nvidia-smi >/dev/null; then set -x; \
		.venv/bin/pip install --quiet --disable-pip-version-check "tensorflow[and-cuda]" nvidia-ml-py --constraint requirements.txt; fi
	@touch $@
