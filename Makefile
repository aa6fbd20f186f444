# `make help` lists what can be made. Results go to stdout, progress to stderr.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

KERNEL  ?= 6.1
DEBIAN  ?= 12
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# For go test: .ci/run sets -v, to count.
TESTFLAGS ?=
# For the lab's test in the guest.
E2EFLAGS ?=

# This machine's Go, or the one that it fetches. Without either every target that needs Go says so.
export GOTOOLCHAIN := $(shell internal/setup/go.sh 2>/dev/null || echo none)
export CGO_ENABLED := 0
BUILD := go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
# The kernels in which the lab is tested, the slowest first, how many guests at a time, and how long one may take. A guest
# uses half a CPU, and 1.6 GiB.
LAB_KERNELS ?= newest 6.12 6.1 5.10
LAB_GUESTS  ?= 2
GUESTTIME   ?= 25m
LABS        := $(LAB_KERNELS:%=lab-%)
MODULES     := $(LAB_KERNELS:%=modules-%)
DOCTORS     := $(LAB_KERNELS:%=doctor-%)
# How long `make fuzz` spends on each target.
FUZZTIME ?= 60s
say = @echo "==> $(1)" >&2

.PHONY: build guest-tools record generate fmt lint generated test test-unit test-native test-guests test-lab kernels $(LABS) test-modules $(MODULES) modules-$(KERNEL) test-ends test-hooks test-rules test-oracle test-routes test-explain test-doctor $(DOCTORS) doctor-$(KERNEL) doctor-large test-matrix test-vm vm btf sessions fixtures bench bench-check demo fuzz tools go bare docs install test-install clean help

build: go ## bin/ipiptrace, one static binary
	@mkdir -p bin
	@$(BUILD) -o bin/ipiptrace ./cmd/ipiptrace
	@size=$$(stat -c %s bin/ipiptrace); (( size < 15 << 20 )) || { echo "bin/ipiptrace has $$size bytes, more than 15 MiB" >&2; exit 1; }

generate: go tools ## compile bpf/ into tracer/, with clang 19
	$(call say,compiling bpf/)
	@go generate ./

fmt: tools ## format Go and C
	@gofmt -w $$(git ls-files -co --exclude-standard '*.go')
	@clang-format-19 -i bpf/*.[ch]

lint: go tools ## formats, go vet, staticcheck
	$(call say,formats$(comma) go vet$(comma) staticcheck)
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
		[[ -z $$unformatted ]] || { echo "not formatted, run make fmt: $$unformatted" >&2; exit 1; }
	@clang-format-19 --dry-run -Werror bpf/*.[ch]
	@go vet ./...
	@go vet -tags native ./cmd/ipiptrace
	@go tool staticcheck ./...

generated: go tools ## the committed objects are what bpf/ compiles to
	$(call say,comparing tracer/*.o with bpf/)
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cp -r bpf go.mod go.sum gen.go "$$dir"; mkdir "$$dir/tracer"; \
		(cd "$$dir" && go generate ./ >/dev/null); \
		for file in "$$dir"/tracer/*; do \
			cmp "$$file" "tracer/$${file##*/}" >&2 || { echo "tracer/$${file##*/} is not what bpf/ compiles to: run make generate" >&2; exit 1; }; \
		done

test: lint generated test-unit test-install test-native test-guests ## all that CI runs

test-unit: go ## pure packages, goldens, CLI scripts; needs Go only
	$(call say,unit tests)
	@go test $(TESTFLAGS) ./...

test-native: go tools ## real packets of this machine's kernel, tracepoints only; needs root
	$(call say,native tests)
	@go test $(TESTFLAGS) -tags native -run '^TestNative' -count 1 ./cmd/ipiptrace ./internal/host/read ./internal/ruleset

# $1 is the kernel.
IN_GUEST = bin/boot --kernel $(1) --file bin/ipiptrace:/bin/ipiptrace --file bin/e2e:/bin/e2e \
	-- e2e -ipiptrace /bin/ipiptrace $(E2EFLAGS)

test-vm: build guest-tools ## the lab inside one Debian kernel: KERNEL=6.1
	$(call say,the lab in a $(KERNEL) guest)
	@$(call IN_GUEST,$(KERNEL))

# Guests share the CPUs, LAB_GUESTS at a time, in this order. What one says is shown whole when it is done.
together = $(MAKE) --no-print-directory --keep-going --jobs=$(LAB_GUESTS) --output-sync=target $(1)

test-guests: kernels ## all that needs guests: the labs, modules, ends, costs
	$(call say,guests$(comma) $(LAB_GUESTS) at a time; each is shown when it is done)
	@$(call together,$(LABS) test-ends bench-check $(MODULES) test-hooks)

test-lab: kernels ## the lab inside each of LAB_KERNELS, LAB_GUESTS at a time
	$(call say,the lab in guests of $(LAB_KERNELS)$(comma) $(LAB_GUESTS) at a time; each is shown when it is done)
	@$(call together,$(LABS))

kernels: guest-tools
	@for kernel in $(LAB_KERNELS); do bin/boot --kernel $$kernel --fetch; done

$(LABS): lab-%: build guest-tools
	$(call say,the lab in a $* guest)
	@status=0; began=$$SECONDS; \
		timeout --foreground $(GUESTTIME) $(call IN_GUEST,$*) </dev/null || status=$$?; \
		echo "==> the lab in a $* guest: status $$status after $$((SECONDS - began)) s"; exit $$status

test-modules: $(if $(filter file,$(origin KERNEL)),$(MODULES),modules-$(KERNEL)) ## modules that are loaded and unloaded during a run, in a guest of each kernel, or of KERNEL=6.1

$(sort $(MODULES) modules-$(KERNEL)): modules-%: build guest-tools
	$(call say,modules in a $* guest)
	@bin/boot --kernel $* --file bin/ipiptrace:/bin/ipiptrace --file cmd/ipiptrace/testdata/guest/modules.sh:/modules.sh -- bash /modules.sh

test-ends: build guest-tools ## a run ends when it is told to, in a guest whose clock counts instructions: KERNEL=6.1
	$(call say,ends in a $(KERNEL) guest)
	@bin/boot --kernel $(KERNEL) --icount --file bin/ipiptrace:/bin/ipiptrace --file cmd/ipiptrace/testdata/guest/ends.sh:/ends.sh -- bash /ends.sh

# In the two kernels that list hooks.
test-hooks: guest-tools ## the kernel's list of hooks has them in the order in which they run, in a 6.12 and a newest guest
	@go test -c -tags native -o bin/read.test ./internal/host/read
	@for kernel in 6.12 newest; do \
		echo "==> the order of hooks in a $$kernel guest"; \
		bin/boot --kernel $$kernel --file bin/read.test:/read.test -- \
			sh -c 'modprobe -a nf_tables nfnetlink_hook; cd /; /read.test -test.v -test.run ^TestGuest'; \
	done

test-rules: build guest-tools ## rules of every match of iptables are deleted as the fix says, in a KERNEL=6.1 guest
	@go test -c -tags native -o bin/rules.test ./internal/ruleset
	$(call say,rules of iptables in a $(KERNEL) guest)
	@bin/boot --kernel $(KERNEL) --file bin/rules.test:/rules.test -- /rules.test -test.v -test.run '^TestNative'

test-explain: build guest-tools ## what explain says, with each fault in the lab, in a guest of each kernel, or of KERNEL=6.1
	@for kernel in $(if $(filter file,$(origin KERNEL)),$(LAB_KERNELS),$(KERNEL)); do \
		echo "==> explain in a $$kernel guest" >&2; \
		$(call IN_GUEST,$$kernel) -tiers auto -run explain/; \
	done

# `make test` asks doctor of each scenario in the guest of one kernel, and runs none of its commands.
test-doctor: kernels ## doctor names each fault in the lab, and its commands end it, in a guest of each kernel, or of KERNEL=6.1
	@$(call together,$(if $(filter file,$(origin KERNEL)),$(DOCTORS),doctor-$(KERNEL)))

$(sort $(DOCTORS) doctor-$(KERNEL)): doctor-%: build guest-tools
	$(call say,doctor in a $* guest)
	@$(call IN_GUEST,$*) -doctor </dev/null

# How many rulesets, and which is the first: the same number makes the same ruleset. Each run's figures stay in bin/oracle
# until make clean; those of all runs in a kernel are put together, and README.md has their sum.
ORACLE ?= -oracle.rulesets 2500

test-oracle: build guest-tools ## generated rulesets, by the model and by the kernel, in a KERNEL=6.1 guest; KERNEL=host: here, as root
	@go test -c -tags native -o bin/rules.test ./internal/ruleset
	$(call say,generated rulesets$(comma) kernel: $(KERNEL))
	@figures=bin/oracle/rules/$(KERNEL); mkdir -p $$figures; status=0; \
		test='rules.test -test.v -test.timeout 2h -test.run ^TestNativeTheModel $(ORACLE) -oracle.figures'; \
		if [[ $(KERNEL) == host ]]; then bin/$$test $(CURDIR)/$$figures || status=$$?; \
		else bin/boot --kernel $(KERNEL) --file bin/rules.test:/rules.test --out $$figures -- sh -c "modprobe -a tun nfnetlink_hook 2>/dev/null; /$$test /out" || status=$$?; fi; \
		cat bin/oracle/rules/$(KERNEL)/*.json >internal/ruleset/testdata/oracle/$(KERNEL).jsonl; exit $$status
	@go test ./cmd/ipiptrace -run Docs -count 1 -update

# Blocks of 60 configurations, by their first: the same number makes the same ones. Figures are kept as those of test-oracle.
ROUTES ?= 5000 5060 5120 5180 5240 5300 5360 5420 5480 5540

test-routes: build guest-tools ## generated routes, rules and settings, by the model and by the kernel, in a KERNEL=6.1 guest
	@go test -c -tags native -o bin/routes.test ./internal/host/read
	$(call say,generated routes in a $(KERNEL) guest)
	@figures=bin/oracle/routes/$(KERNEL); mkdir -p $$figures; status=0; \
		bin/boot --kernel $(KERNEL) --file bin/routes.test:/routes.test --out $$figures -- \
			sh -c 'modprobe -a tun ipip dummy vrf nf_tables xfrm_user tcp_diag udp_diag; status=0; for first in $(ROUTES); do \
				/routes.test -test.v -test.timeout 2h -test.run ^TestNativeTheModelTakes -oracle.configurations 60 -oracle.first $$first -oracle.figures /out || status=1; done; exit $$status' || status=$$?; \
		mkdir -p internal/host/read/testdata/oracle; cat $$figures/*.json >internal/host/read/testdata/oracle/$(KERNEL).jsonl; exit $$status
	@go test ./cmd/ipiptrace -run Docs -count 1 -update

# Rules, routes, devices, real servers and sockets are made by the ten thousand: that alone takes minutes.
doctor-large: build guest-tools ## time and memory of doctor on a machine with 50,000 rules and routes, in a KERNEL=6.1 guest
	$(call say,doctor on a large machine in a $(KERNEL) guest)
	@bin/boot --kernel $(KERNEL) --memory 2048 --file bin/ipiptrace:/bin/ipiptrace --file bin/e2e:/bin/e2e -- e2e -ipiptrace /bin/ipiptrace -doctor-large

test-matrix: ## the long run before a release: every fault, kernel and back-end
	@$(MAKE) --no-print-directory test-lab LAB_KERNELS="5.10 6.1 6.12 newest" GUESTTIME=4h E2EFLAGS="-set full"

guest-tools: go
	@$(BUILD) -o bin/e2e ./internal/e2e
	@$(BUILD) -o bin/boot ./internal/vm/boot

bench: go ## what a packet costs, in instructions: KERNEL=6.1
	@go run ./internal/bench --kernel $(KERNEL)

bench-check: go ## what a packet costs, compared with the parent commit
	@if git rev-parse --quiet --verify HEAD^ >/dev/null; then \
		go run ./internal/bench --kernel $(KERNEL) --against HEAD^ --backends fentry --packets 500 --warm-up 100; \
	else \
		echo "bench-check: HEAD has no parent here (the first commit, or a shallow clone): there is nothing to compare with" >&2; \
	fi

# For the test of relocations; only where a program looks at a new struct or function.
btf: guest-tools ## read testdata/btf/ out of every kernel again
	@for kernel in 5.10 6.1 6.12 newest; do \
		bin/boot --kernel $$kernel --out bin/btf/$$kernel -- sh -c 'modprobe -a $(BTF_MODULES); cp /sys/kernel/btf/* /out/'; \
	done
	@go test ./tracer -run TestCommittedObject -count 1 -btf $(CURDIR)/bin/btf -update

# For docs/causes; only where what ipiptrace says of a fault has changed.
sessions: build guest-tools ## read testdata/*/session.txt out of a 6.1 guest again, and write docs/
	@bin/boot --kernel 6.1 --file bin/ipiptrace:/bin/ipiptrace --file bin/e2e:/bin/e2e --out bin/sessions -- e2e -ipiptrace /bin/ipiptrace -sessions /out
	@cp -r bin/sessions/. testdata/
	@go test ./cmd/ipiptrace -run Docs -count 1 -update

# For the tests of internal/host/read; only where what is read of a machine has changed.
fixtures: build guest-tools ## collect internal/host/read/testdata/fixtures/ in a guest of every kernel again
	@go test -c -trimpath -o bin/read.test ./internal/host/read
	@rm -rf bin/fixtures; for kernel in $(LAB_KERNELS); do \
		bin/boot --kernel $$kernel --file bin/ipiptrace:/bin/ipiptrace --file bin/read.test:/bin/read.test \
			--file internal/host/read/testdata/collect.sh:/collect.sh --out bin/fixtures \
			-- ipiptrace lab healthy -- bash /collect.sh /out; \
	done
	@rm -rf internal/host/read/testdata/fixtures && cp -r bin/fixtures internal/host/read/testdata/
	@go test ./internal/host/read -run Fixtures -count 1 -update

BTF_MODULES := ipip ip_vs nf_tables nf_conntrack nft_reject_inet nft_reject_ipv4 nft_compat

record: build guest-tools ## record every scenario, with states, into testdata/ again: KERNEL=6.1
	@bin/boot --kernel $(KERNEL) --file bin/ipiptrace:/bin/ipiptrace --file bin/e2e:/bin/e2e --out testdata \
		-- e2e -ipiptrace /bin/ipiptrace -record /out $(E2EFLAGS)

vm: build ## a shell inside the lab's guest: KERNEL=6.1
	@$(BUILD) -o bin/boot ./internal/vm/boot
	@bin/boot --kernel $(KERNEL) --file bin/ipiptrace:/bin/ipiptrace

# What a person would type on the real server: each command is shown, then run.
define DEMO
show() { printf '\n$$ %s\n' "$$1"; bash -c "$$1" || true; }
show "ipiptrace lab rp-filter -- sh -c 'ipiptrace --netns \$$IPIPTRACE_REAL_SERVER --vip 10.99.0.1 --port 80 --only lost --count 1'"
show "ipiptrace lab healthy -- sh -c 'ipiptrace --netns \$$IPIPTRACE_REAL_SERVER --vip 10.99.0.1 --port 80 --count 3'"
printf '\nThe same without the fault: requests are delivered, answers leave. make vm gives a shell to try more.\n'
endef
export DEMO

demo: build ## a guest, the lab, a fault and what ipiptrace says of it; then without the fault
	@$(BUILD) -o bin/boot ./internal/vm/boot
	@bin/boot --kernel $(KERNEL) --file bin/ipiptrace:/bin/ipiptrace -- bash -c "$$DEMO"

fuzz: go ## every fuzz target for FUZZTIME, and the tests with hostile text in every field of a recording
	@go test -count 1 -timeout 1h ./internal/diagnose -run '^TestNoNameBecomesMoreThanAName$$' -long
	@go test -count 1 -timeout 1h ./cmd/ipiptrace -run '^TestNo(Damage|Text)' -long
	@go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$dir"/*_test.go 2>/dev/null); do \
			echo "==> $$package $$target" >&2; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

# file:package; what a guest needs is known and installed by internal/vm.
TOOLS := /usr/bin/clang-19:clang-19 /usr/bin/llvm-strip-19:llvm-19 /usr/bin/clang-format-19:clang-format-19 \
	/usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/sbin/nft:nftables /bin/ip:iproute2 /usr/sbin/sysctl:procps /usr/sbin/bpftool:bpftool

tools: ## install what generate, lint and test-native need, through apt
	@lacking=(); for tool in $(TOOLS); do [[ -e $${tool%%:*} ]] || lacking+=("$${tool##*:}"); done; \
	(( $${#lacking[@]} )) || exit 0; \
	install="apt-get install -y --no-install-recommends $${lacking[*]}"; \
	if (( EUID )); then echo "this machine lacks $${lacking[*]}; install with: $$install" >&2; exit 1; fi; \
	echo "this machine lacks $${lacking[*]}; running: $$install" >&2; \
	$$install >&2 || { apt-get update >&2; $$install >&2; }

go: # a Go that is new enough, or can fetch one; else one line says where it comes from
	@internal/setup/go.sh >/dev/null

bare: ## make demo and make test in a Debian that has nothing but Go, git and make: DEBIAN=12
	@internal/setup/bare.sh $(DEBIAN)

PREFIX  ?= /usr/local
DESTDIR ?=

# The pages have the commit's date: two builds of it make the same.
docs: build ## manual pages and completion for bash, zsh and fish, in bin/docs
	@rm -rf bin/docs && mkdir -p bin/docs/man bin/docs/completion
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 0)} \
		go test ./cmd/ipiptrace -run '^TestEveryCommandHasAManualPage$$' -count 1 -ldflags '-X ipiptrace/cmd/ipiptrace.version=$(VERSION)' -man $(CURDIR)/bin/docs/man >/dev/null
	@for shell in bash zsh fish; do bin/ipiptrace completion $$shell >bin/docs/completion/$$shell; done

install: docs ## put binary, manual pages and completion below PREFIX=/usr/local, or DESTDIR with that in it
	@install -D -m 755 -t '$(DESTDIR)$(PREFIX)/bin' bin/ipiptrace
	@install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/man/man1' bin/docs/man/*.1
	@install -D -m 644 bin/docs/completion/bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ipiptrace'
	@install -D -m 644 bin/docs/completion/zsh '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ipiptrace'
	@install -D -m 644 bin/docs/completion/fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ipiptrace.fish'

test-install: ## what make install puts in place is there, and works
	$(call say,make install)
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
		$(MAKE) --no-print-directory install DESTDIR="$$dir" PREFIX=/usr; \
		[[ $$("$$dir"/usr/bin/ipiptrace --version) == "ipiptrace $(VERSION)" ]]; \
		for command in trace record replay explain probes schema lab; do grep -q '^.TH ' "$$dir/usr/share/man/man1/ipiptrace-$$command.1"; done; \
		bash -c 'source "$$0" && complete -p ipiptrace' "$$dir/usr/share/bash-completion/completions/ipiptrace" >/dev/null; \
		grep -q '^#compdef ipiptrace' "$$dir/usr/share/zsh/site-functions/_ipiptrace"; \
		grep -q 'complete -c ipiptrace' "$$dir/usr/share/fish/vendor_completions.d/ipiptrace.fish"
	@echo "--- PASS: make install"

clean: ## remove what make has made
	@rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target what; do printf '%-14s %s\n' "$$target" "$$what"; done

comma := ,
