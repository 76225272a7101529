# `make` is the one command that must pass.
.PHONY: all test lint bench

all:
	@.ci/run

test:
	go test ./...

lint:
	go run $$(sed -n 's/^linter=//p' .ci/run) run

bench:
	go run ./bench all
