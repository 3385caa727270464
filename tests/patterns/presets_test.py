#!/usr/bin/env python3
"""Each preset is well formed: its layers name library patterns, their dims, lengths and parameters."""
import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import pattern_files  # noqa: E402

MODEL_KEYS = {"title", "source", "hidden", "layers", "context", "dtype", "layer"}
LAYER_KEYS = {"name", "pattern", "count", "dims", "lengths", "params", "notes", "source"}
LENGTHS = {"B", "T", "Tq", "Tk", "P"}
EXPECTED = """llama-3-8b llama-3-70b gemma-2-9b gpt-oss-20b qwen3-next deepseek-v3 mamba-2-2.7b kimi-linear
starcoder2-7b vit-b mistral-7b phi-3-mini phi-2""".split()


def layer_problems(layer, library):
    """What is wrong with one [[layer]]."""
    missing = {"name", "pattern", "count", "dims", "lengths"} - layer.keys()
    if missing or layer.keys() - LAYER_KEYS:
        yield f"keys missing {sorted(missing)}, unknown {sorted(layer.keys() - LAYER_KEYS)}"
        return
    pattern = library.get(layer["pattern"])
    if pattern is None:
        yield f"no pattern {layer['pattern']}"
        return
    given = layer["dims"] | layer["lengths"]
    absent = set(pattern.dims) - set(pattern.derived_dims) - set(given)
    unknown = set(given) - set(pattern.dims) - {"B"}
    if absent or unknown:
        yield f"dims absent {sorted(absent)}, unknown {sorted(unknown)}"
    if set(layer["lengths"]) - LENGTHS or set(layer["dims"]) & LENGTHS:
        yield "lengths are " + ", ".join(sorted(LENGTHS)) + ", all else are dims"
    for name, value in (layer.get("params") or {}).items():
        if name not in pattern.params:
            yield f"{pattern.pattern} has no parameter {name}, only {sorted(pattern.params)}"
        elif isinstance(value, int) and "." in pattern.params[name][1]:
            yield f"parameter {name} is real: write {value}.0"
    for name, (constant, default) in pattern.params.items():
        if not default and name not in (layer.get("params") or {}):
            yield f"parameter {name} has no default and no value"
    if any(not isinstance(n, int) or n < 1 for n in given.values()):
        yield "a dim or length is no positive integer"


def model_problems(model, library):
    if model.keys() != MODEL_KEYS:
        yield f"keys {sorted(model.keys() ^ MODEL_KEYS)} are missing or unknown"
        return
    if "arXiv" not in model["source"] and "config.json" not in model["source"]:
        yield "source names neither a paper nor a configuration file"
    names = [layer.get("name") for layer in model["layer"]]
    if len(set(names)) != len(names):
        yield f"layer names repeat: {names}"
    for layer in model["layer"]:
        yield from (f"layer {layer.get('name')}: {p}" for p in layer_problems(layer, library))


def main():
    library = {p.pattern: p for p in pattern_files.read_library()}
    presets = {p.stem: tomllib.loads(p.read_text())
               for p in sorted((pattern_files.PATTERNS / "presets").glob("*.toml"))}
    found = {name: list(model_problems(model, library)) for name, model in presets.items()}
    found |= {name: ["no such file"] for name in EXPECTED if name not in presets}
    broken = dict(presets["gemma-2-9b"])  # the check can fail
    broken["layer"] = [broken["layer"][0] | {"params": {"WW": 4096}, "dims": {"Hq": 16}}]
    if len(list(model_problems(broken, library))) != 2:
        found["self-check"] = ["a damaged layer was not found"]
    for name, problems in found.items():
        for problem in problems:
            print(f"patterns/presets/{name}.toml: {problem}")
    failed = sum(bool(p) for p in found.values())
    print(f"heddle-test: {len(found) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
