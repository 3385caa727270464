# Text tests of the pattern language: heddle-opt on a file, FileCheck or --verify-diagnostics on what
# it says. The build folder comes as --param build=DIR.
import os

import lit.formats

config.name = "pattern"
config.test_format = lit.formats.ShTest(not lit.util.which("bash"))
config.suffixes = [".heddle", ".mlir"]
config.test_source_root = os.path.dirname(__file__)
build = lit_config.params.get("build", os.path.join(os.path.dirname(__file__), "../../../build"))
config.test_exec_root = os.path.join(build, "lit", "ir", "pattern")
config.substitutions.append(("heddle-opt", os.path.join(build, "bin", "heddle-opt")))
config.substitutions.append(("FileCheck", "/usr/lib/llvm-22/bin/FileCheck"))
