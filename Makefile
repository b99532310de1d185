# What people and CI share. Everything lives in .venv; nothing needs root, docker or a model hub.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := semcache_async tests benchmarks

# Options of the quality benchmark: --quick, --requests 8000, --data QUESTIONS.jsonl, --out FOLDER
QUALITY ?=
# Options of the comparison: --quick (minutes), --stages lookups,http, --render (draw again)
BENCH ?=
# The tool that writes the bill of materials, apart from what it describes
SBOM := .venv-sbom
CONTENDERS := $(basename $(notdir $(wildcard benchmarks/contenders/requirements/*.txt)))
PROGRAMS := $(basename $(notdir $(wildcard benchmarks/programs/requirements/*)))

# OpenVINO where it can gain: CPUs with bfloat16 or AVX-512
EXTRAS := $(shell grep -sqwE 'avx512_bf16|amx_bf16|avx512f' /proc/cpuinfo && echo embedded,openvino || echo embedded)

.PHONY: demo test check format clients node-clients release-tools program-envs bench bench-envs \
	bench-smoke bench-parts bench-quality bench-readme docs wheel-test constraints sbom clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed  ## install, then run the main job
	$(BIN)/semcache demo

test: check bench-smoke clients release-tools  ## install, then pass the checks, the cost budgets and the tests
	-scripts/install-browser
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(VENV)/.installed-dev  ## format, lint, types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)

format: $(VENV)/.installed-dev  ## format, and mend what can be mended
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clients: $(VENV)/.installed-dev node-clients  ## what tests of clients need besides .venv
	scripts/pinned-env instructor

node-clients:  ## the clients for Node, where there is one
	if command -v npm >/dev/null; then \
		cd tests/serve/node && npm install --no-package-lock --no-audit --no-fund --silent; fi

release-tools: $(VENV)/.installed-dev  ## what builds and checks wheel, image, chart and workflows
	scripts/pinned-env release

program-envs: $(VENV)/.installed-dev  ## programs that people run: python -m benchmarks.programs
	for name in $(PROGRAMS); do scripts/pinned-env $$name || exit 1; done

docs: $(VENV)/.installed-dev  ## the documentation as a site, without the network: build/site (tests/test_docs.py builds it too)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

bench: $(VENV)/.installed-dev  ## the whole comparison, half an hour: benchmarks/results/CPU/bench.md
	$(BIN)/python -m benchmarks.bench $(BENCH)

bench-readme: $(VENV)/.installed-dev  ## the README's numbers, from the committed runs
	$(BIN)/python -m benchmarks.readme

bench-envs: $(VENV)/.installed-dev  ## what is compared with, each in an environment of its own
	for name in $(CONTENDERS); do scripts/pinned-env $$name || exit 1; done

bench-smoke: $(VENV)/.installed-dev  ## what a lookup costs, counted, against budgets
	$(BIN)/python -m benchmarks.smoke

bench-parts: $(VENV)/.installed-dev  ## what the cache adds to its parts, as ratios
	$(BIN)/python -m benchmarks.parts
	$(BIN)/python -m benchmarks.embedder semcache_async/data/banking77_test.jsonl.gz

bench-quality: $(VENV)/.installed-dev  ## what is served, and how much of it is wrong: benchmarks/out/quality.md
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality $(QUALITY)

wheel-test: $(VENV)/.installed-dev  ## the wheel with each extra in an empty environment, half an hour
	$(BIN)/python scripts/wheel-test $(EXTRA)

constraints: $(VENV)/.installed-dev  ## the versions that the checks passed with: constraints.txt
	mkdir -p build
	$(BIN)/python scripts/supply constraints > build/constraints.txt
	mv build/constraints.txt constraints.txt

sbom: $(VENV)/.installed-dev $(SBOM)/bin/cyclonedx-py  ## what is shipped, as CycloneDX: build/sbom.json
	mkdir -p build
	$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library \
		--output-reproducible --short-PURLs --output-format JSON --output-file build/whole.json \
		$(BIN)/python
	$(BIN)/python scripts/supply sbom < build/whole.json > build/sbom.json

$(SBOM)/bin/cyclonedx-py: | $(VENV)/bin/python
	$(BIN)/python -m venv $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed (the embedded Redis has no packages for others); name one: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	touch $@ $(VENV)/.installed

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(SBOM) tests/serve/node/node_modules build .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/out
