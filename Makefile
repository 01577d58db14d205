# gosset. `make help` lists the targets.

VERSION := $(shell sed -n 's/.*GS_VERSION "\(.*\)"/\1/p' include/gosset.h)
PREFIX  ?= /usr/local
VARIANT ?= release
CC      ?= cc
B       := build/$(VARIANT)
# Real models and texts for the larger tests; they skip themselves where it is absent.
GOSSET_DATA ?= $(wildcard ../shared/data)
export GOSSET_DATA

LIBS     := jansson libpcre2-8 libutf8proc
PKG      := $(shell command -v pkg-config 2>/dev/null)
LIB_CFLAGS := $(if $(PKG),$(shell pkg-config --cflags $(LIBS) 2>/dev/null))
LIB_LDLIBS := $(if $(PKG),$(shell pkg-config --libs $(LIBS) 2>/dev/null)) -lm -pthread
# Optional, and without a .pc file: GLPK for the best types under a budget (GLPK= leaves it out).
GLPK ?= $(shell echo 'int main(void) { return 0; }' | $(CC) -include glpk.h -xc - -lglpk -o /dev/null 2>/dev/null && echo yes)
ifneq ($(GLPK),)
LIB_CFLAGS += -DGS_HAVE_GLPK
LIB_LDLIBS += -lglpk
endif

WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes \
        -Wcast-qual -Wpointer-arith -Werror
OPT_release := -O3 -g
OPT_neon    := -O3 -g
OPT_debug   := -O1 -g
OPT_asan    := -O1 -g -fsanitize=address -fno-omit-frame-pointer
OPT_ubsan   := -O1 -g -fsanitize=undefined -fno-sanitize-recover=undefined
OPT_tsan    := -O1 -g -fsanitize=thread
OPT_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
               -fno-sanitize-recover=undefined
OPT     := $(OPT_$(VARIANT))
# Same results on every level and with every compiler: no contraction, no fast-math.
CFLAGS  ?=
ALL_CFLAGS := -std=c11 -D_POSIX_C_SOURCE=200809L $(OPT) $(WARN) -ffp-contract=off \
              -fno-math-errno -fno-trapping-math -fvisibility=hidden -fPIC -pthread $(CFLAGS)
SRC_CFLAGS := -Iinclude -Isrc $(LIB_CFLAGS)
CLI_CFLAGS := -Iinclude $(LIB_CFLAGS)

# Instruction sets are chosen by file suffix and at run time, never by -march=native.
%_avx2.o:   ISA := -mavx2 -mfma -mf16c -mbmi2
%_avx512.o: ISA := -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl \
                   -mavx512cd -mprefer-vector-width=512
%_avx512vbmi.o: ISA := -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl \
                   -mavx512cd -mavx512vbmi -mavx512vbmi2 -mavx512vnni -mgfni \
                   -mprefer-vector-width=512
%_neondot.o: ISA := -march=armv8.2-a+dotprod

# Only the instruction sets of the processor that CC compiles for.
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
SRC := $(sort $(wildcard src/*/*.c))
ifeq ($(filter x86_64 amd64,$(ARCH)),)
SRC := $(filter-out %_avx2.c %_avx512.c %_avx512vbmi.c,$(SRC))
endif
ifeq ($(filter aarch64 arm64,$(ARCH)),)
SRC := $(filter-out %_neon.c %_neondot.c,$(SRC))
endif
OBJ := $(SRC:%.c=$(B)/%.o) $(B)/recipe_list.o
CLI := $(sort $(wildcard cli/*.c))
CLI_OBJ := $(CLI:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
CHECK_OBJ := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/check/*.c)))
TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(sort $(wildcard tests/tools/*.c)))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

.PHONY: all help deps quick test unit check check-neon neon-test golden golden-check cli-test \
        fuzz fuzz-replay oom asan ubsan tsan layers headers symbols sizes gates install clean
all: $(B)/gosset $(B)/libgosset.so

help:
	@sed -n 's/^#: //p' Makefile

#: make            build the program and the library (VARIANT=debug|asan|ubsan|tsan)
#: make deps       install what is missing from the distribution's packages
#: make quick      build, unit and kernel tests
#: make test       every test; real-model tests run where GOSSET_DATA points to a data folder
#: make demo       install, build, quantize the bundled model at 8, 4, 3 and 2 bits, compare
#: make check      kernels of every level against the scalar definition (SEED=N)
#: make check-neon   the same for AArch64: cross compiled (NEON_CC=), run by qemu-user (NEON_RUN=)
#: make asan ubsan tsan   rebuild in an own folder with a sanitizer and run the tests
#: make fuzz T=gguf S=60  fuzz one parser for so many seconds (needs clang)
#: make gates      layers, headers, symbols, sizes
#: make tools gen-check   generators of tables; does the committed table come out of its own?
#: make golden     rewrite tests/golden/results.csv for review
#: make install PREFIX=/usr/local [DESTDIR=]

deps:
	@sh tools/deps.sh

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC $<"
	@$(CC) $(ALL_CFLAGS) $(ISA) $(if $(filter cli/%,$<),$(CLI_CFLAGS),$(SRC_CFLAGS) -I.) \
	    -MMD -MP -c $< -o $@

# Recipes by name are part of the library.
RECIPES := $(sort $(wildcard recipes/*.recipe))
$(B)/recipe_list.c: tools/recipes.sh $(RECIPES)
	@mkdir -p $(@D)
	@sh tools/recipes.sh $(RECIPES) >$@
$(B)/recipe_list.o: $(B)/recipe_list.c
	@echo "CC $<"
	@$(CC) $(ALL_CFLAGS) $(SRC_CFLAGS) -MMD -MP -c $< -o $@

$(B)/libgosset.a: $(OBJ)
	@echo "AR $@"
	@rm -f $@ && $(AR) rcs $@ $^

$(B)/libgosset.so: $(OBJ)
	@echo "LD $@"
	@$(CC) $(OPT) -shared -Wl,-soname,libgosset.so.0 $^ $(LIB_LDLIBS) -o $@

$(B)/gosset: $(CLI_OBJ) $(B)/libgosset.a
	@echo "LD $@"
	@$(CC) $(OPT) $^ $(LIB_LDLIBS) -o $@

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libgosset.a
	@echo "LD $@"
	@$(CC) $(OPT) $^ -lcmocka $(LIB_LDLIBS) -o $@

$(B)/tests/check/check: $(CHECK_OBJ) $(B)/libgosset.a
	@echo "LD $@"
	@$(CC) $(OPT) $^ $(LIB_LDLIBS) -o $@

$(B)/tests/tools/%: $(B)/tests/tools/%.o $(B)/libgosset.a
	@echo "LD $@"
	@$(CC) $(OPT) $^ $(LIB_LDLIBS) -o $@

$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(B)/libgosset.a
	@echo "LD $@"
	@$(CC) $(OPT) $^ $(LIB_LDLIBS) -o $@

$(B)/tools/%: $(B)/tools/%.o $(B)/libgosset.a
	$(CC) $(OPT) $^ $(LIB_LDLIBS) -o $@

.PHONY: tools gen-check
tools: $(B)/tools/trellis_search $(B)/tools/hyb_table
gen-check: $(B)/tools/trellis_search $(B)/tools/hyb_table
	@$(B)/tools/hyb_table | cmp - src/grid/hyb_table.c && echo "hyb_table: ok"
	@sh tools/trellis_table.sh $(B)/tools/trellis_search --check

unit: $(UNIT) $(TOOLS) $(B)/gosset
	@sh tests/run_unit.sh $(B)

SEED ?= 1
check: $(B)/tests/check/check
	$< --seed $(SEED)

# Kernels and mathematics need no library, so a bare cross compiler builds their check. make test
# runs it where that compiler and an emulator are installed.
NEON_CC  ?= aarch64-linux-gnu-gcc
NEON_RUN ?= qemu-aarch64
BARE     := $(foreach folder,core kernels linalg grid,$(B)/src/$(folder)/%.o)
BARE_OBJ := $(filter-out %/json.o,$(filter $(BARE),$(OBJ)))
$(B)/tests/check/bare: $(CHECK_OBJ) $(BARE_OBJ)
	@echo "LD $@"
	@$(CC) $(OPT) -static $^ -lm -pthread -o $@
check-neon:
	@$(MAKE) --no-print-directory VARIANT=neon CC="$(NEON_CC)" GLPK= LIB_CFLAGS= \
	    build/neon/tests/check/bare
	$(NEON_RUN) build/neon/tests/check/bare --quick --seed $(SEED)
neon-test:
	@if command -v $(lastword $(NEON_CC)) >/dev/null && command -v $(NEON_RUN) >/dev/null; then \
	    $(MAKE) --no-print-directory check-neon; \
	else echo "check-neon: left out, needs $(lastword $(NEON_CC)) and $(NEON_RUN)"; fi

cli-test: $(B)/gosset $(TOOLS)
	@sh tests/cli/run.sh $(B)

golden: $(B)/gosset $(TOOLS)
	@sh tests/golden/run.sh $(B) --write
golden-check: $(B)/gosset $(TOOLS)
	@sh tests/golden/run.sh $(B)

fuzz-replay: $(FUZZ:%=$(B)/tests/fuzz/replay_%)
	@sh tests/fuzz/replay.sh $(B)

fuzz:
	@test -n "$(T)" || { echo "usage: make fuzz T=TARGET S=SECONDS; targets: $(FUZZ)"; exit 2; }
	$(MAKE) VARIANT=fuzz CC=clang fuzz-build T=$(T)
	@mkdir -p build/fuzz/corpus/$(T)
	cd build/fuzz && ./fuzz_$(T) -max_total_time=$(or $(S),60) -rss_limit_mb=1024 -timeout=10 \
	    -malloc_limit_mb=512 corpus/$(T) ../../tests/fuzz/corpus/$(T)

.PHONY: fuzz-build
fuzz-build: $(B)/tests/fuzz/fuzz_$(T).o $(B)/libgosset.a
	@echo "LD $(B)/fuzz_$(T)"
	@$(CC) $(OPT) -fsanitize=fuzzer $^ $(LIB_LDLIBS) -o $(B)/fuzz_$(T)

# MODEL=FILE.gguf demonstrates on another model.
.PHONY: demo
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(shell nproc 2>/dev/null || echo 2) $(B)/gosset
	@sh tools/demo.sh $(B) $(MODEL)

quick: all unit check
test: all gates unit check neon-test cli-test golden-check fuzz-replay oom
oom: $(TOOLS)
	$(B)/tests/tools/oom

asan:
	$(MAKE) VARIANT=asan unit check fuzz-replay oom cli-test
ubsan:
	$(MAKE) VARIANT=ubsan unit check fuzz-replay cli-test
tsan:
	$(MAKE) VARIANT=tsan unit cli-test

gates: layers headers symbols sizes
layers:
	@sh tools/layers.sh
headers:
	@sh tools/headers.sh "$(CC)" "$(SRC_CFLAGS)"
symbols: $(B)/libgosset.a $(B)/libgosset.so
	@sh tools/symbols.sh $(B)
sizes:
	@sh tools/sizes.sh

install: all $(B)/gosset.pc
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $(B)/gosset $(DESTDIR)$(PREFIX)/bin/gosset
	install -m 644 $(B)/libgosset.a $(DESTDIR)$(PREFIX)/lib/libgosset.a
	install -m 755 $(B)/libgosset.so $(DESTDIR)$(PREFIX)/lib/libgosset.so.0
	ln -sf libgosset.so.0 $(DESTDIR)$(PREFIX)/lib/libgosset.so
	install -m 644 include/gosset.h $(DESTDIR)$(PREFIX)/include/gosset.h
	install -m 644 $(B)/gosset.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/gosset.pc

.PHONY: $(B)/gosset.pc
$(B)/gosset.pc: tools/gosset.pc.in
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(LIBS)|' -e 's|@EXTRA@|$(if $(GLPK),-lglpk)|' $< > $@

clean:
	rm -rf build

.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
