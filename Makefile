# ctrexec: a target for each job. `make help` lists them.

VERSION = $(shell sed -n 's/^#define CTX_VERSION "\(.*\)"/\1/p' core/core.h)

PREFIX ?= /usr/local
DESTDIR ?=
LUA_VERSION = 5.4
BINDIR ?= $(PREFIX)/bin
LUA_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
LUA_SHAREDIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)
MANDIR ?= $(PREFIX)/share/man
# The folder with the command under the names of runtimes, for engines to call.
FRONTDIR ?= $(PREFIX)/lib/ctrexec
LUA_INCDIR ?= /usr/include/lua$(LUA_VERSION)
LUA ?= lua$(LUA_VERSION)

ifeq ($(origin CC),default)
CC = gcc
endif

# SANITIZE=1 builds everything with ASan and UBSan into a directory of its own; `make test SANITIZE=1` tests that build.
ifdef SANITIZE
BUILD ?= build-sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPTIMIZE = -O1 -g
else
BUILD ?= build
HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPTIMIZE = -O2 -g
endif

WARN = -Wall -Wextra -Werror
DIALECT = -std=c11 -D_GNU_SOURCE

# HOSTILE=1 makes a build whose protections can be switched off one at a time (core/common/protect.h). It is for
# tests/hostile, never to be installed. In it tests/hostile/order.c can run some of the helper's steps at another place.
ifdef HOSTILE
DIALECT += -DCTX_TEST_BUILD
REORDERED = write_own_files join_namespaces close_for_good close_others prove_directory become_member become_user set_limits
HELPER_ORDER = tests/hostile/order.c $(REORDERED:%=-Wl,--wrap=%)
endif
CORE_CFLAGS = $(DIALECT) $(WARN) $(OPTIMIZE) $(HARDEN) $(SANITIZERS) -fPIC -fvisibility=hidden -isystem $(LUA_INCDIR) $(CFLAGS)
CORE_LDFLAGS = -shared -Wl,-z,relro,-z,now,-z,noexecstack $(SANITIZERS) $(LDFLAGS)

# The helper is static and tiny (design section 4): musl, no stdio, no locale. musl has no sanitizer runtime, so the
# sanitized helper is an ordinary dynamic program: it is loaded before any namespace is entered.
ifdef SANITIZE
HELPER_CC = gcc
HELPER_CFLAGS = $(DIALECT) $(WARN) $(OPTIMIZE) $(SANITIZERS)
HELPER_LDFLAGS = $(SANITIZERS)
else
HELPER_CC = musl-gcc
HELPER_CFLAGS = $(DIALECT) $(WARN) -Os -fno-pie -fstack-protector-strong -ffunction-sections -fdata-sections \
  -fno-asynchronous-unwind-tables -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch)
# Every start writes the helper to a memfd and maps it, so it is kept small: two packed segments, and no relro, which a
# static program without relocations does not need.
HELPER_LDFLAGS = -static -no-pie -s -Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,norelro,-z,noseparate-code
endif

# The sources of the helper alone, and those that it shares with the core module.
HELPER_ONLY = $(wildcard core/enter/*.c)
HELPER_SHARED = $(wildcard core/common/plan.c)
HELPER_SRC = $(HELPER_ONLY) $(HELPER_SHARED)
# The seccomp compiler is a module of its own, so that libseccomp is loaded only for a container with a profile.
SECCOMP_SRC = $(wildcard core/seccomp*.c core/bpf.c)
CORE_SRC = $(filter-out $(SECCOMP_SRC),$(wildcard core/*.c core/common/*.c))

CORE_SO = $(BUILD)/lua/ctrexec/core.so
SECCOMP_SO = $(if $(wildcard core/seccomp.c),$(BUILD)/lua/ctrexec/core/seccomp.so)
HELPER = $(if $(wildcard core/enter/enter.c),$(BUILD)/lua/ctrexec/enter)
# The compiled Lua modules. A plain lua5.4 makes them with the core module, which it cannot load when that is sanitized;
# the sanitized build uses the sources.
PRECOMPILED = $(if $(SANITIZE),,$(BUILD)/lua/ctrexec/precompiled)
MAN_PAGE = $(BUILD)/man/ctrexec.8
# The launcher (scripts/ctrexec.c) is built where there are static archives of Lua, cjson, libseccomp and libcap.
ARCHIVES = liblua$(LUA_VERSION).a liblua$(LUA_VERSION)-cjson.a libseccomp.a libcap.a
comma := ,
find_archive = $(shell $(CC) -print-file-name=$(1))
LAUNCHER_LIBS = $(foreach archive,$(ARCHIVES),$(call find_archive,$(archive)))
# libcap is linked statically into the core module where it can be: finding and mapping a library would slow every exec.
LIBCAP = $(or $(filter /%,$(call find_archive,libcap.a)),-lcap)
CORE_LIBS = $(LIBCAP) -Wl,--exclude-libs,libcap.a
LAUNCHER = $(if $(SANITIZE)$(filter-out /%,$(LAUNCHER_LIBS)),,$(BUILD)/ctrexec)
LAUNCHER_CFLAGS = $(DIALECT) $(WARN) $(OPTIMIZE) $(HARDEN) -isystem $(LUA_INCDIR) $(CFLAGS)
LAUNCHER_LDFLAGS = -static -Wl,--gc-sections,-z,relro,-z,noexecstack,--wrap=dlopen,--wrap=dlerror $(LDFLAGS)
CORE_OBJ = $(CORE_SRC:core/%.c=$(BUILD)/core/%.o) $(if $(HELPER),$(BUILD)/core/enter_image.o)
SECCOMP_OBJ = $(SECCOMP_SRC:core/%.c=$(BUILD)/core/%.o)
HELPER_OBJ = $(HELPER_SRC:core/%.c=$(BUILD)/helper/%.o)

LINTERS = lint-build lint-format lint-cppcheck lint-tidy lint-lua lint-sh lint-man lint-text

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: build help deps test test-helpers fuzz-targets lint $(LINTERS) docs install deb demo \
  clean FORCE

# Prints one short line for each step; with V=1 make prints the whole command.
say = $(if $(V),,@printf '  %-5s%s\n' $(1) $@;)

build: $(CORE_SO) $(SECCOMP_SO) $(HELPER) $(PRECOMPILED) $(LAUNCHER)

help:
	@echo "build (default)  deps  demo  test  lint  docs  install DESTDIR= PREFIX=  deb  clean"
	@echo "variables: CC=clang  SANITIZE=1  V=1"

# A change of compiler or flags rebuilds everything that was built with the old ones.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(CORE_CFLAGS) $(CORE_LDFLAGS) / $(HELPER_CC) $(HELPER_CFLAGS) $(HELPER_LDFLAGS)' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/core/%.o: core/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(CORE_CFLAGS) -MMD -MP -c -o $@ $<

# The helper's bytes are a part of the core module.
$(BUILD)/core/enter_image.o: core/enter_image.S $(HELPER) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,AS) $(CC) -DCTX_ENTER_IMAGE='"$(HELPER)"' -c -o $@ $<

$(BUILD)/helper/%.o: core/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC) $(HELPER_CC) $(HELPER_CFLAGS) -MMD -MP -c -o $@ $<

# A list of the objects, so that the module is linked anew when a source file is removed.
$(BUILD)/objects: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CORE_OBJ) / $(SECCOMP_OBJ) / $(HELPER_OBJ)' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# The module is renamed into place, so that a program that loads it meanwhile finds the whole old or the whole new one.
$(CORE_SO): $(CORE_OBJ) $(BUILD)/objects
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(CORE_LDFLAGS) -o $@.new $(CORE_OBJ) $(CORE_LIBS)
	@mv $@.new $@

$(BUILD)/lua/ctrexec/core/seccomp.so: $(SECCOMP_OBJ) $(BUILD)/objects
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(CORE_LDFLAGS) -o $@.new $(SECCOMP_OBJ) -lseccomp
	@mv $@.new $@

$(BUILD)/lua/ctrexec/enter: $(HELPER_OBJ) $(filter %.c,$(HELPER_ORDER)) $(BUILD)/objects
	@mkdir -p $(@D)
	$(call say,LINK) $(HELPER_CC) $(if $(HELPER_ORDER),$(HELPER_CFLAGS)) $(HELPER_LDFLAGS) -o $@ $(HELPER_OBJ) $(HELPER_ORDER)

# The compiled Lua modules. ctrexec uses one only while its source has the size and the time that are noted there.
$(BUILD)/lua/ctrexec/precompiled: scripts/precompile.lua $(CORE_SO) $(shell find lua -name '*.lua')
	scripts/precompile.lua lua $@

# The manual is made from the texts of --help.
$(MAN_PAGE): scripts/man.lua lua/ctrexec/command/commands.lua lua/ctrexec/command/options.lua \
  lua/ctrexec/exec/fields.lua lua/ctrexec/exec/field_texts.lua
	@mkdir -p $(@D)
	$(call say,MAN) scripts/man.lua $(VERSION) "$$(date -r lua/ctrexec/command/commands.lua +%F)" >$@

# The places that the launcher knows: of the modules, of their compiled form, and of the script that may replace it.
launcher_places = -DCTX_SHAREDIR='"$(1)"' -DCTX_LIBDIR='"$(2)"' -DCTX_SCRIPT='"$(3)"'
link_launcher = $(CC) $(LAUNCHER_CFLAGS) $(LAUNCHER_LDFLAGS) $(2) -o $(1) scripts/ctrexec.c $(CORE_OBJ) \
  $(SECCOMP_OBJ) $(LAUNCHER_LIBS) -lm

$(BUILD)/ctrexec: scripts/ctrexec.c $(CORE_OBJ) $(SECCOMP_OBJ) $(BUILD)/objects
	$(call say,LINK) $(call link_launcher,$@.new,$(call \
	  launcher_places,$(CURDIR)/lua,$(abspath $(BUILD))/lua,$(CURDIR)/scripts/ctrexec.lua))
	@mv $@.new $@

# The interpreter of the sanitized tests: the system's, changed to load the ASan runtime before any other library.
# (LD_PRELOAD would also change every program that a test starts.)
$(BUILD)/lua5.4:
	@mkdir -p $(@D)
	cp "$$(command -v lua5.4)" $@.new
	patchelf --add-needed "$$(objdump -p "$$(gcc -print-file-name=libasan.so)" | awk '$$1 == "SONAME" { print $$2 }')" $@.new
	mv $@.new $@

-include $(CORE_OBJ:.o=.d) $(SECCOMP_OBJ:.o=.d) $(HELPER_OBJ:.o=.d)

deps:
	@tests/deps

# The compiled helpers of the tests, from tests/helpers: a Lua module where the source has a luaopen_ function, else a
# static program, which runs in any root file system.
HELPER_TEST_MODULES = $(shell grep -ls luaopen_ tests/helpers/*.c)
HELPER_TEST_PROGRAMS = $(filter-out $(HELPER_TEST_MODULES),$(wildcard tests/helpers/*.c))
TEST_HELPERS = $(HELPER_TEST_MODULES:tests/helpers/%.c=$(BUILD)/tests/%.so) \
  $(HELPER_TEST_PROGRAMS:tests/helpers/%.c=$(BUILD)/tests/%)

$(BUILD)/tests/%.so: tests/helpers/%.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(DIALECT) $(WARN) -O2 -g -fPIC -shared -isystem $(LUA_INCDIR) -o $@ $< -lseccomp

$(BUILD)/tests/late_calls.so: core/common/late.h

$(BUILD)/tests/%: tests/helpers/%.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(DIALECT) $(WARN) -O2 -g -static -o $@ $<

# The program and the library that attack from within a container.
ATTACK_LIBRARY = tests/hostile/attacks/library.c
$(BUILD)/attack: $(filter-out $(ATTACK_LIBRARY),$(wildcard tests/hostile/attacks/*.[ch]))
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(DIALECT) $(WARN) -O2 -g -static -o $@ $(filter %.c,$^)

$(BUILD)/library.so: $(ATTACK_LIBRARY)
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(DIALECT) $(WARN) -O2 -g -fPIC -shared -o $@ $<

test-helpers: $(TEST_HELPERS)

# The fuzzers, one for each C file of tests/fuzz, and the core compiled for them.
FUZZ_TARGETS = $(patsubst tests/fuzz/%.c,build-fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZ_CFLAGS = $(DIALECT) $(WARN) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
  -fno-sanitize-recover=undefined -isystem $(LUA_INCDIR)
FUZZ_OBJ = $(patsubst core/%.c,build-fuzz/core/%.o,$(wildcard core/*.c core/common/*.c) core/enter/passwd.c)

build-fuzz/core/%.o: core/%.c
	@mkdir -p $(@D)
	$(call say,CC) clang $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

build-fuzz/core.a: $(FUZZ_OBJ) $(BUILD)/core/enter_image.o
	@rm -f $@
	$(call say,AR) ar crs $@ $^

build-fuzz/%: tests/fuzz/%.c build-fuzz/core.a
	$(call say,FUZZ) clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -MMD -MP -o $@ $< build-fuzz/core.a -llua$(LUA_VERSION) -lseccomp -lcap

-include $(FUZZ_OBJ:.o=.d) $(FUZZ_TARGETS:=.d)

fuzz-targets: build $(FUZZ_TARGETS)

# On a fresh machine `make test` and `make demo` install and build what they need. MAKEFLAGS passes SANITIZE on.
test: deps
	@$(MAKE) --no-print-directory build test-helpers $(if $(SANITIZE),$(BUILD)/lua5.4)
	@SANITIZE='$(SANITIZE)' tests/run

demo: deps
	@$(MAKE) --no-print-directory build
	@scripts/demo

lint: deps
	@$(MAKE) --no-print-directory --keep-going $(LINTERS)

# Lists the files of the repository, and new ones that are not ignored.
FILES = git ls-files --cached --others --exclude-standard
C_FILES = $(shell $(FILES) '*.c')
TIDY_FLAGS = $(DIALECT) -Wall -Wextra -isystem $(LUA_INCDIR)

lint-build:
	@$(MAKE) --no-print-directory --silent BUILD=build/lint-gcc CC=gcc build
	@$(MAKE) --no-print-directory --silent BUILD=build/lint-clang CC=clang build
	clang $(TIDY_FLAGS) -Werror -O2 -fsyntax-only $(HELPER_SRC)

lint-format:
	@clang-format --dry-run -Werror $(C_FILES) $(shell $(FILES) '*.h')

lint-cppcheck:
	@cppcheck --quiet --std=c11 -D_GNU_SOURCE -D__x86_64__ --enable=warning,style,performance,portability \
	  --suppress=unusedStructMember --suppress=constStatement:tests/valgrind/syscalls.c --inline-suppr --error-exitcode=1 $(C_FILES)

# clang-tidy writes its findings to standard output, and only statistics to standard error, which is dropped.
lint-tidy:
	@printf '%s\n' $(C_FILES) | xargs -P 2 -I FILE clang-tidy --quiet FILE -- $(TIDY_FLAGS) 2>/dev/null

lint-lua:
	@luacheck --quiet --no-color .luacheckrc .busted $$($(FILES) '*.lua' '*.rockspec' '*.ld')

lint-sh:
	@shellcheck $$($(FILES) | xargs awk 'FNR == 1 && /^#!.*sh( |$$)/ { print FILENAME } { nextfile }')

lint-man: $(MAN_PAGE)
	@mandoc -T lint -W warning $<

lint-text:
	@tests/lint-text

docs: deps
	$(LUA) docs/check.lua $$($(FILES) 'lua/*.lua' 'core/*.c')
	ldoc --quiet --fatalwarnings .

# Installs what users need, and nothing of the tests. lua5.4 finds modules below /usr and /usr/local by itself; for any
# other PREFIX the path is written into the command. LuaRocks moves the files once more and sets the path itself: it
# passes an empty EMBED_PATH, and there is no launcher then.
EMBED_PATH ?= yes
COMMAND = ctrexec$(if $(EMBED_PATH),$(if $(LAUNCHER),.lua))
install: build $(MAN_PAGE)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LUA_LIBDIR)/ctrexec/core
	cd lua && find ctrexec -name '*.lua' -exec install -D -m 644 '{}' '$(DESTDIR)$(LUA_SHAREDIR)/{}' ';'
	install -m 644 $(CORE_SO) $(DESTDIR)$(LUA_LIBDIR)/ctrexec/core.so
	install -m 644 $(SECCOMP_SO) $(DESTDIR)$(LUA_LIBDIR)/ctrexec/core/seccomp.so
	install -m 755 $(HELPER) $(DESTDIR)$(LUA_LIBDIR)/ctrexec/enter
	$(if $(PRECOMPILED),scripts/precompile.lua $(DESTDIR)$(LUA_SHAREDIR) $(DESTDIR)$(LUA_LIBDIR)/ctrexec/precompiled)
	install -m 755 scripts/ctrexec.lua $(DESTDIR)$(BINDIR)/$(COMMAND)
	install -D -m 644 $(MAN_PAGE) $(DESTDIR)$(MANDIR)/man8/ctrexec.8
	test -z '$(EMBED_PATH)' || \
	  $(LUA) -E -e 'os.exit(package.path:find("$(LUA_SHAREDIR)/?.lua", 1, true) ~= nil)' || \
	  sed -i -e '1a package.path = "$(LUA_SHAREDIR)/?.lua;$(LUA_SHAREDIR)/?/init.lua;" .. package.path' \
	  -e '1a package.cpath = "$(LUA_LIBDIR)/?.so;" .. package.cpath' $(DESTDIR)$(BINDIR)/$(COMMAND)
	$(if $(EMBED_PATH),install -d $(DESTDIR)$(FRONTDIR))
	$(if $(EMBED_PATH),ln -sf $(BINDIR)/ctrexec $(DESTDIR)$(FRONTDIR)/runc)
	$(if $(EMBED_PATH),ln -sf $(BINDIR)/ctrexec $(DESTDIR)$(FRONTDIR)/crun)
	$(if $(filter %.lua,$(COMMAND)),$(call link_launcher,$(DESTDIR)$(BINDIR)/ctrexec,$(call \
	  launcher_places,$(LUA_SHAREDIR),$(LUA_LIBDIR),$(BINDIR)/$(COMMAND))))

# A binary package in Debian's layout. The version of the C library that it needs is read from the built modules.
DEB_ARCH = $(shell dpkg --print-architecture)
DEB = build/ctrexec_$(VERSION)_$(DEB_ARCH).deb
DEB_ROOT = build/deb

deb: build
	rm -rf $(DEB_ROOT)
	$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/$(DEB_ROOT) PREFIX=/usr \
	  LUA_LIBDIR=/usr/lib/$$(gcc -print-multiarch)/lua/$(LUA_VERSION)
	install -D -m 644 LICENSE $(DEB_ROOT)/usr/share/doc/ctrexec/copyright
	install -m 644 README.md $(DEB_ROOT)/usr/share/doc/ctrexec/README.md
	find $(DEB_ROOT) '(' -name '*.so' -o -path '*/bin/ctrexec' ')' -exec strip --strip-unneeded '{}' ';'
	install -d $(DEB_ROOT)/DEBIAN
	libc=$$(find $(DEB_ROOT) -name '*.so' -exec objdump -T '{}' ';' | sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p' | \
	  sort -Vu | tail -n 1) && \
	printf '%s\n' 'Package: ctrexec' 'Version: $(VERSION)' 'Architecture: $(DEB_ARCH)' 'Section: admin' \
	  'Priority: optional' 'Maintainer: The ctrexec authors <ctrexec@localhost>' \
	  "Depends: lua5.4, lua-cjson, libseccomp2 (>= 2.5.0),$(if $(filter -l%,$(LIBCAP)), libcap2$(comma)) libc6 (>= $$libc)" 'Recommends: runc | crun' \
	  'Description: starts a process inside a running OCI container' \
	  ' A command and a Lua module that do the job of "runc exec" for containers of' ' runc and crun.' \
	  >$(DEB_ROOT)/DEBIAN/control
	dpkg-deb --root-owner-group --build $(DEB_ROOT) $(DEB)

# Jobs with a folder of their own; each is a target where the folder has a `run`.
define job_rule
.PHONY: $(1)
$(1): deps
	@$$(MAKE) --no-print-directory build test-helpers
	@$(2)
endef
$(foreach job,bench:tests/bench/run soak:tests/soak/run load:tests/load/run fuzz:tests/fuzz/run test-hostile:tests/hostile/run \
  faults:tests/faults/run test-vm:tests/vm/run test-engines:tests/engines/run,\
  $(if $(wildcard $(lastword $(subst :, ,$(job)))),\
    $(eval $(call job_rule,$(firstword $(subst :, ,$(job))),$(lastword $(subst :, ,$(job)))))))

clean:
	rm -rf build build-sanitize build-hostile build-fuzz
