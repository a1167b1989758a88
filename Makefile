# make run    build the agent, start it on a unix socket with agent.toml, show a real exchange
# make test   install what the tests need (Debian packages; root or sudo) and pass them all, skipping none
# make bench  waga and Debian's qemu-ga side by side, with the targets
# make lint   clippy and rustfmt, as CI has them

CARGO ?= cargo
RUN := target/run

.PHONY: run test bench lint packages

run:
	$(CARGO) build --release -p waga
	@mkdir -p $(RUN)
	rustc --edition 2024 -O -o $(RUN)/ask examples/ask.rs
	@echo; echo "waga -c agent.toml, asked on $(RUN)/agent.sock:"; echo
	@target/release/waga -c agent.toml & agent=$$!; \
	$(RUN)/ask $(RUN)/agent.sock \
	    '{"execute": "guest-sync-delimited", "arguments": {"id": 1}}' \
	    '{"execute": "guest-get-osinfo"}' \
	    '{"execute": "guest-exec", "arguments": {"path": "uname", "arg": ["-a"], "capture-output": true}}' \
	    '{"execute": "guest-get-load", "id": "load"}' \
	    '{"execute": "guest-get-loda"}'; \
	result=$$?; kill $$agent; wait $$agent; exit $$result
	@echo; echo "Start it yourself with 'target/release/waga -c agent.toml' and ask it with '$(RUN)/ask'."

# The last line puts the same cases to qemu-ga alone: what they ask of waga is what the original does.
test: packages
	WAGA_TESTS=all $(CARGO) test --workspace
	AGENT_BIN=/usr/sbin/qemu-ga $(CARGO) test -p waga-tests --test it

bench: packages
	$(CARGO) build --release -p waga -p waga-tests --bin waga --bin bench
	target/release/bench

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) fmt --all --check

packages:
	sh tests/install-packages
