"""One peer in a process of its own, driven by lines of JSON on standard input:
    {"do": "prepare", "case": ..., "dtype": ..., "seed": ..., "exact": FILE}  -> {"error": relative error, "how": ...} or {"reason": ...}
    {"do": "time", "seconds": ...}                                            -> {"times": [seconds, ...]}
Each answer is one line on the original standard output; whatever a library prints goes to standard error.
"""
import gc
import importlib
import json
import os
import sys
import time

import numpy as np

import problem


def prepare(peer, request):
    """Builds the calls, checks the first result. The calls rotate over sets of tensors, so that decode
    and steps read from memory as the layers of a model do."""
    case, dtype = request["case"], request["dtype"]
    exact = np.load(request["exact"])
    rows = [int(r) for r in exact["rows"]]
    calls, how = [], ""
    for n in range(case["rotate"]):
        data = problem.make_inputs(case, dtype, request["seed"] if n == 0 else request["seed"] + n)
        call, result, how = peer.make(case, dtype, data)
        call()
        if n == 0:
            found = np.asarray(result(), dtype=np.float64)[:, rows]
            error = problem.relative_error(found, exact["values"])
        calls.append(call)
    return calls, {"error": error, "how": how}


def measure(calls, seconds):
    for call in calls:
        call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for call in calls:
            call()
        times.append((time.perf_counter() - start) / len(calls))
    return times


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the protocol
    peer = importlib.import_module(sys.argv[1])
    peer.start(int(sys.argv[2]), sys.argv[3])
    calls = []
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                calls = []
                gc.collect()
                calls, answer = prepare(peer, request)
            else:
                answer = {"times": measure(calls, request["seconds"])}
        except Exception as problem_found:  # a peer that cannot do a case says so, and the run goes on
            answer = {"reason": f"{type(problem_found).__name__}: {problem_found}".split("\n")[0][:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
