SIZE ?= node
PYTHON = .venv/bin/python
MAKEFLAGS += --no-print-directory

# Under sudo Python would leave compiled modules of root's in the checkout of another.
ifdef SUDO_UID
export PYTHONDONTWRITEBYTECODE = 1
endif

.DEFAULT_GOAL = help
.PHONY: help cluster demo test soak bench down

help:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

cluster: .venv/synced ## bring Kubernetes up, for eval "$(make cluster)"; SIZE=api needs no root, SIZE=scale adds 10 played nodes
	@$(PYTHON) -m devcluster up --size $(SIZE)

demo: .venv/synced ## see a Dask cluster come, work and go; on a cluster of yours with KUBECONTEXT=name [IMAGE=operator's]
	@$(PYTHON) examples/demo.py $(if $(KUBECONTEXT),--kubecontext $(KUBECONTEXT) $(if $(IMAGE),--image $(IMAGE)))

test: .venv/synced ## run all checks and tests
	@$(PYTHON) -m tests

soak: .venv/synced ## shake the operator for MINUTES=10 with a failing API server, on played nodes; root
	@$(PYTHON) -m tests.faults soak --minutes $(or $(MINUTES),10)

bench: .venv/synced ## measure against the raw limit of this machine
	@$(PYTHON) -m benchmarks

down: .venv/synced ## end and remove all of this clone's clusters
	@$(PYTHON) -m devcluster down

.venv/synced: uv.lock pyproject.toml
	@devcluster/bootstrap.sh
