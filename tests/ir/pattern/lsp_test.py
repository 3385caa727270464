#!/usr/bin/env python3
"""Talks to heddle-lsp as an editor does: a faulty file must come back with its mistake in place."""
import json
import pathlib
import subprocess
import sys

SERVER = pathlib.Path(sys.argv[1]) / "bin" / "heddle-lsp"
GOOD = """pattern.def @p(%q: seq<T x H x D>) {
  %o = mix %q, %q, %q weight exp norm sum
  return %o
}
"""
FAULTY = GOOD.replace("norm sum", "norm sum support { j <= ii }")


def frame(message):
    body = json.dumps(dict(message, jsonrpc="2.0")).encode()
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def document(uri, text):
    return frame({"method": "textDocument/didOpen", "params": {"textDocument": {
        "uri": uri, "languageId": "mlir", "version": 1, "text": text}}})


def messages(data):
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        size = int(head.split(b"Content-Length:")[1].split(b"\r\n")[0])
        yield json.loads(rest[:size])
        data = rest[size:]


def definition(uri, line, column):
    return frame({"id": 2, "method": "textDocument/definition", "params": {
        "textDocument": {"uri": uri}, "position": {"line": line, "character": column}}})


def main():
    talk = [frame({"id": 0, "method": "initialize",
                   "params": {"processId": None, "capabilities": {}, "trace": "off"}}),
            document("test:///faulty.heddle", FAULTY), document("test:///good.heddle", GOOD),
            definition("test:///good.heddle", 2, 10),
            frame({"id": 3, "method": "shutdown"}), frame({"method": "exit"})]
    done = subprocess.run([SERVER], input=b"".join(talk), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=120)
    found, answers = {}, {}
    for message in messages(done.stdout):
        if message.get("method") == "textDocument/publishDiagnostics":
            found[message["params"]["uri"]] = message["params"]["diagnostics"]
        if "id" in message:
            answers[message["id"]] = message.get("result")

    faulty = found.get("test:///faulty.heddle", [])
    start = faulty[0]["range"]["start"] if faulty else {}
    target = (answers.get(2) or [{}])[0].get("range", {}).get("start", {})
    checks = {
        "one mistake in the faulty file": len(faulty) == 1,
        "its message": bool(faulty) and "unknown name 'ii'" in faulty[0]["message"],
        "its place": start == {"line": 1, "character": FAULTY.splitlines()[1].index("ii")},
        "no mistake in the good file": found.get("test:///good.heddle") == [],
        "%o of return is defined by mix": target == {"line": 1, "character": 2},
        "clean exit": done.returncode == 0,
    }
    for name, good in checks.items():
        if not good:
            print(f"FAILED: {name}; diagnostics {found}, definition {answers.get(2)}")
    failed = sum(not good for good in checks.values())
    print(f"heddle-test: {len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
