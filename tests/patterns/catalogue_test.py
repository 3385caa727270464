#!/usr/bin/env python3
"""The catalogue is what tools/catalogue.py writes, every head is complete, and the check can fail."""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import catalogue  # noqa: E402
import pattern_files  # noqa: E402

GOOD = """// Causal softmax attention.
// Equation: s_ij = q_i . k_j;
//   o_i = sum_j exp(s_ij) v_j
// Source: arXiv 1706.03762
// Forms: attention
pattern.def @good(%q: seq<Tq x Hq x D>, %m: tensor<f32, Hq>, W = 4096, const cap = 50.0) {
"""


def read(text, name="good"):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"{name}.heddle"
        path.write_text(text)
        return pattern_files.read_pattern(path)


def test_catalogue_is_current():
    done = subprocess.run([sys.executable, str(ROOT / "tools/catalogue.py"), "--check"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_head_is_read():
    good = read(GOOD)
    assert good.title == "Causal softmax attention"
    assert good.equation == ["s_ij = q_i . k_j;", "o_i = sum_j exp(s_ij) v_j"]
    assert good.dims == ["Tq", "Hq", "D"], good.dims
    assert good.params == {"W": (False, "4096"), "cap": (True, "50.0")}, good.params
    assert not list(catalogue.problems(good))


def test_problems_are_found():
    for broken, word in ((GOOD.replace("// Source: arXiv 1706.03762\n", ""), "Source"),
                         (GOOD.replace("arXiv 1706.03762", "somewhere"), "names neither"),
                         (GOOD.replace("Forms: attention", "Forms: attraction"), "attraction"),
                         (GOOD.replace("@good", "@other"), "expected @good")):
        found = " ".join(catalogue.problems(read(broken)))
        assert word in found, (word, found)


def test_stray_comment_is_refused():
    try:
        read(GOOD.replace("// Forms", "// stray words\n// Forms"))
    except ValueError as error:
        assert "stray words" in str(error)
    else:
        raise AssertionError("a comment line of no field was accepted")


def main():
    passed = failed = 0
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            try:
                test()
                passed += 1
            except Exception as error:  # report and go on with the next test
                failed += 1
                print(f"{name}: {error!r}")
    print(f"heddle-test: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
