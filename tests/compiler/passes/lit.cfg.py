# Text tests of the passes on tile IR: one file a pass, heddle-opt and FileCheck. The build folder
# comes as --param build=DIR.
import os

import lit.formats

config.name = "passes"
config.test_format = lit.formats.ShTest(not lit.util.which("bash"))
config.suffixes = [".mlir"]
config.test_source_root = os.path.dirname(__file__)
build = lit_config.params.get("build", os.path.join(os.path.dirname(__file__), "../../../build"))
config.test_exec_root = os.path.join(build, "lit", "compiler", "passes")
config.substitutions.append(("heddle-opt", os.path.join(build, "bin", "heddle-opt")))
config.substitutions.append(("FileCheck", "/usr/lib/llvm-22/bin/FileCheck"))
