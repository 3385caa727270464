# Text tests of the tile dialect: round trips and one error for each rule of the verifier.
import lit.formats

config.name = "tile"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".mlir"]
config.test_source_root = __import__("os").path.dirname(__file__)
config.test_exec_root = lit_config.params["build"] + "/tests/ir/tile/lit"
config.environment["PATH"] = ":".join(
    [lit_config.params["build"] + "/bin", "/usr/lib/llvm-22/bin", config.environment["PATH"]])
