# Thin front to tools/setup.sh, CMake and the test runner. `make help` lists the targets.
.PHONY: help setup build demo test test-all gpu-check bench-compile bench bench-peers format format-check include-check clean
BUILD := build

help:           ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 18

setup:          ## install missing Debian packages
	@tools/setup.sh

build: setup    ## configure and build everything into build/
	@[ -f $(BUILD)/build.ninja ] || cmake --preset release
	@cmake --build --preset release

demo: build     ## the main job on a problem you know: form, sweep, winner, check, speed
	@tools/demo.sh

test: build     ## all tests of the quick tier; ends with a line of counts
	@tools/run_tests.py --build $(BUILD)

test-all: build ## the whole product of shapes, forms and schedules
	@tools/run_tests.py --build $(BUILD) --all

bench: build    ## Google Benchmark programs: kernels beside the measured peak
	@tools/run_bench.sh $(BUILD)

bench-peers: build ## Heddle beside torch, onnxruntime, OpenVINO and ggml in one run; installs them into build/ from PyPI
	@bench/peers/compare.py --build $(BUILD)

gpu-check: build ## all that needs a GPU, with a report in build/gpu-report.json; says so where there is none
	@tools/gpu_check.py --build $(BUILD)

bench-compile: build ## CPU time from source to GPU code, beside Triton (from PyPI into build/); needs no GPU
	@bench/baselines/compare_compile.py --build $(BUILD)

format:         ## format all sources
	@git ls-files '*.cpp' '*.h' '*.c' | xargs clang-format-22 -i

format-check:   ## fail if a source is not formatted
	@git ls-files '*.cpp' '*.h' '*.c' | xargs clang-format-22 --dry-run -Werror

include-check:  ## fail if a folder includes what it may not
	@tools/check_includes.py

clean:          ## remove the build folder
	@rm -rf $(BUILD)
