# Each target sets up what it needs, once; run any of them again and it starts at once.
LAKE ?= ./lake
PY := .venv/bin/python
# Two sessions side by side, each with whole files, the longest first (tests/conftest.py).
PYTEST := $(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-all site lint audit bench-lfm bench-lfm-quality bench-top-n bench-sr bench-streaming bench-ingest bench-search bench-near-duplicates bench-spam docs report serve wheel clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup:  ## create .venv with locked versions and place the jars of Delta and S3
	@scripts/setup.sh

demo: setup  ## the main jobs end to end on embedded data, or on DATA=path/to/movielens
	@$(PY) examples/demo.py $(if $(DATA),--data "$(DATA)")

test: setup lint  ## lint, types and the tests to work with, on classic Spark and on Spark Connect
	@$(PYTEST) -m "not slow"
	@LAKERANK_TEST_REMOTE='local[2]' $(PYTEST) -m "not slow"

test-all: test  ## and the slow ones: clusters, notebooks, every documented command, fuzz, fresh environments, the site
	@$(PYTEST) -m slow
	@LAKERANK_TEST_REMOTE='local[2]' LAKERANK_TEST_CODEGEN=1 $(PYTEST) -m slow

site: setup  ## the documentation site, strictly: build/docs/index.html
	@$(PY) -m sphinx -W --keep-going -n -q docs build/docs

lint: setup  ## ruff and mypy
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .
	@.venv/bin/mypy

audit: setup  ## known advisories about the locked packages; says so where the service does not answer
	@$(PY) scripts/audit.py

bench-lfm: setup  ## latent factors against ALS and LIBMF, on time; RATINGS=MovieLens folder (default: 1M generated)
	@$(PY) benchmarks/bench_lfm.py $(if $(RATINGS),--ratings "$(RATINGS)",--quick)

bench-lfm-quality: setup  ## latent factors against five peers, on test RMSE; RATINGS=MovieLens folder
	@$(PY) benchmarks/bench_lfm_quality.py --ratings "$(RATINGS)"

bench-top-n: setup  ## recommendations for everybody against ALS
	@$(PY) benchmarks/bench_top_n.py

bench-sr: setup  ## what 300 s on a CPU teach; IMAGES=training pictures SETS=folder of Set5 and Set14
	@$(PY) benchmarks/bench_sr_cpu.py --images "$(IMAGES)" --sets "$(SETS)"

bench-streaming: setup  ## our stream of patches against five peers; IMAGES=folder of pictures in tars
	@$(PY) benchmarks/bench_streaming.py $(if $(IMAGES),--images "$(IMAGES)")

bench-ingest: setup  ## reading pages against plain Spark
	@$(PY) benchmarks/bench_ingest.py

bench-search: setup  ## the index against Lucene, bm25s and tantivy; LAKE=a lake with pages KNOWN=file of queries
	@$(PY) benchmarks/bench_search.py --lake "$(LAKE)" --known-items "$(KNOWN)"

bench-near-duplicates: setup  ## near-duplicates against datasketch
	@$(PY) benchmarks/bench_near_duplicates.py --quick

bench-spam: setup  ## link farms against PageRank and TrustRank
	@$(PY) benchmarks/bench_spam.py

docs: setup  ## regenerate the references in docs/ from the code
	@$(PY) scripts/make_docs.py

report: setup  ## HTML report of LAKE (default ./lake)
	@$(PY) -m spark_jobs.report --lake "$(LAKE)"

serve: setup  ## search page of LAKE (default ./lake) on 127.0.0.1, port PORT (default 8080)
	@$(PY) -m spark_jobs.serve --lake "$(LAKE)" $(if $(PORT),--port "$(PORT)")

wheel: setup  ## dist/lakerank-….whl, what clusters install
	@$(PY) -m hatchling build -t wheel -d dist

clean:  ## remove what was built (not the lake)
	rm -rf build dist .venv
