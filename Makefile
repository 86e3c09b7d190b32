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

demo: .venv/installed ## Run the whole pipeline on drawn pets, in a temporary folder; NAME=... and SET=... change it
	@python -m pipeline.recover
	@dvc exp remove --quiet $(NAME) 2>/dev/null || true
	dvc exp run --quiet --temp --name $(NAME) $(addprefix --set-param ,$(DEMO))
	@rm -rf demo/$(NAME) && mkdir -p demo
	@dvc get --quiet . data/plots --rev $(NAME) --out demo/$(NAME)
	@base=HEAD; if [ $(NAME) != demo ] && dvc exp list --name-only | grep --quiet --line-regexp demo; then base=demo; fi; \
		dvc metrics diff $$base $(NAME) --all --no-path --precision 3 --targets $(REPORTED) 2>/dev/null | \
		grep --invert-match --extended-regexp '_low|_high|dice'
	@echo "Test split of the embedded pets. Guessing: accuracy 0.58, mean IoU 0.21. Pictures and curves: demo/$(NAME)/"
	@echo "Next: make ui"

repro: .venv/installed ## Download Oxford-IIIT Pets and train with the parameters of params.yaml
	python -m pipeline.recover
	dvc repro
	-@python -m pipeline.tracking sync

ui: .venv/installed ## Serve MLflow on http://127.0.0.1:5000, with the results of all commits and experiments; PORT=...
	-@python -m pipeline.tracking sync --all-commits
	@case "$$MLFLOW_TRACKING_URI" in \
		http*) echo "MLFLOW_TRACKING_URI names a server: open it in the browser" ;; \
		*) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port $(PORT) \
			--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}" ;; \
	esac

bench: .venv/installed ## Measure speed and memory against the chapter's code, on the real pets: an hour or more
	dvc repro --quiet preprocess_segmenter preprocess_classifier
	python -m benchmarks

test: .venv/installed ## Run the quick tests, in minutes: everything that a change usually breaks
	python -m pytest -m "not slow"

test-all: .venv/installed ## Run all tests; needs chromium, faketime, openssh-server and postgresql
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

clean: ## Remove caches and the demo's output; keeps unfinished trainings, downloads, data and models
	rm -rf demo dvc_plots .dvc/tmp/exps/standalone .pytest_cache .ruff_cache .hypothesis

# On a machine with an NVIDIA GPU, NVIDIA's libraries are installed too. Without them TensorFlow trains on the CPU and
# says nothing. pip takes the newest that TensorFlow allows: requirements.txt is the same with and without a GPU.
.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; choose one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(^:%=--requirement %)
	@if command -v nvidia-smi >/dev/null; then set -x; \
		.venv/bin/pip install --quiet --disable-pip-version-check "tensorflow[and-cuda]" --constraint requirements.txt; fi
	@touch $@
