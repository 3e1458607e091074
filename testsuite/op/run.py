# SPDX-License-Identifier: Apache-2.0
"""Runs the official ONNX cases of every operator that mlcc has: by JIT, and as C built plain and for this machine.

    run.py MLCC CC SRC WORK [NAME_PART...]

Prints FAIL and SKIP lines and the counts last; a case passes once for each of the three ways.
"""
import fnmatch
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import cases as onnx_cases

JOBS = os.cpu_count() or 2
BATCH = 40
WAYS = {"jit": None, "c": "-O1", "c-native": "-O1 -march=native"}
WARNINGS = "-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"


def run(command, timeout=300):
    """Exit status and all output; 124 when it took too long."""
    try:
        r = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=timeout)
        return r.returncode, r.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode(errors="replace") + "timed out"


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no output"])[-1][:300]


def jit_results(mlcc, batch):
    """name -> None or why it failed. A crash costs the case it happened in; the rest runs again without it."""
    results, todo = {}, {c.folder: c for c in batch}
    while todo:
        status, text = run([mlcc, "verify", "-q", "--via", "jit", "--verify-ir", *todo])
        said = []
        for line in text.splitlines():
            folder, _, verdict = line.partition(": ")
            if folder in todo and verdict.startswith(("passed", "failed")):
                results[todo.pop(folder).name] = None if verdict.startswith("passed") else " / ".join(said)[-300:]
                said = []
            elif line.strip():
                said.append(line.split("error: ")[-1])
        if todo and status not in (0, 1):
            folder = next(iter(todo))
            results[todo.pop(folder).name] = f"status {status}: {last_line(' '.join(said))}"
        elif todo:
            for case in todo.values():
                results[case.name] = "no verdict"
            break
    return results


def differs(case, raw):
    """None when the bytes are the case's outputs within its tolerance, else what differs."""
    at = 0
    for _, outputs in case.data_sets:
        for j, want in enumerate(outputs):
            got = np.frombuffer(raw, np.uint8, want.nbytes, at).view(want.dtype).reshape(want.shape) if want.nbytes else want
            at += want.nbytes
            if want.dtype.kind in "biu":
                same = np.array_equal(got, want)
            else:
                wide = [x.astype(np.float64) if x.dtype.kind != "c" else x for x in (got, want)]
                same = np.allclose(*wide, rtol=case.rtol, atol=case.atol, equal_nan=True)
            if not same:
                return f"output {j} differs: {str(got.ravel()[:4])} is not {str(want.ravel()[:4])}"
    return None if at == len(raw) else f"wrote {len(raw)} bytes, not {at}"


class Batch:
    """Some cases, compiled to C and linked into one program for each way of building."""

    def __init__(self, number, cases, mlcc, cc, src, work):
        self.cases, self.mlcc, self.cc, self.src = cases, mlcc, cc, src
        self.folder = os.path.join(work, f"batch{number}")
        os.makedirs(self.folder, exist_ok=True)
        self.failed = {}

    def compile(self):
        for i, case in enumerate(self.cases):
            status, text = run([self.mlcc, "-q", f"{case.folder}/model.onnx", "-o", f"{self.folder}/case{i}.c", "--target",
                                "native"], 60)
            if status:
                self.failed[case.name] = f"status {status}: {last_line(text)}"
            with open(f"{self.folder}/{case.name}.in", "wb") as f:
                for inputs, _ in case.data_sets:
                    for x in inputs:
                        f.write(np.ascontiguousarray(x).tobytes())
        self.sources = {i: f"{self.folder}/case{i}.c" for i, c in enumerate(self.cases) if c.name not in self.failed}

    def build(self, flags, way):
        """The names of the cases that did not build, each with the compiler's complaint."""
        bad, objects = {}, []
        good = []
        command = [*shlex.split(self.cc), *shlex.split(WARNINGS), *shlex.split(flags), "-c"]
        for i, source in self.sources.items():
            target = f"{self.folder}/{way}-{i}.o"
            status, text = run([*command, source, "-o", target], 120)
            if status:
                bad[self.cases[i].name] = "cc: " + last_line(text)
            else:
                objects.append(target)
                good.append(i)
        with open(f"{self.folder}/models.h", "w") as f:
            for i in good:
                f.write(f'MODEL("{self.cases[i].name}", case{i}_model)\n')
        if good:
            status, text = run([*shlex.split(self.cc), "-O1", f"-I{self.folder}", f"-I{self.src}/runtime", "-include",
                                "stdint.h", f"{self.src}/testsuite/op/harness.c", *objects, "-o", f"{self.folder}/{way}"], 120)
            if status:
                bad.update({self.cases[i].name: "link: " + last_line(text) for i in good})
                good = []
        return bad, good

    def run(self, way):
        results = {name: why for name, why in self.failed.items()}
        bad, good = self.build(WAYS[way], way)
        results.update(bad)
        if not good:
            return results
        _, text = run([f"{self.folder}/{way}", self.folder])
        status = dict(line.rsplit(" ", 1) for line in text.splitlines() if " " in line)
        for i in good:
            case = self.cases[i]
            if status.get(case.name) != "0":
                results[case.name] = f"the program ended with status {status.get(case.name)}"
            else:
                with open(f"{self.folder}/{case.name}.out", "rb") as f:
                    results[case.name] = differs(case, f.read())
        return results


def batch_results(batch):
    number, cases, mlcc, cc, src, work = batch
    results = {"jit": jit_results(mlcc, cases)}
    b = Batch(number, cases, mlcc, cc, src, work)
    b.compile()
    for way in list(WAYS)[1:]:
        results[way] = b.run(way)
    return results


def read_exceptions(path):
    """pattern -> reason, of cases that mlcc does not mean to run."""
    rows = [line.split("#")[0].strip() for line in open(path)]
    return dict(tuple(part.strip() for part in row.split(":", 1)) for row in rows if row)


def main():
    mlcc, cc, src, work, *parts = sys.argv[1:]
    status, text = run([mlcc, "check", "--list-operators"])
    supported = set(text.split())
    if status or not supported:
        print("FAIL op: mlcc check --list-operators prints nothing")
        print("op: 0 passed, 1 failed, 0 skipped")
        return 1
    start = time.time()
    cases, left_out, others = onnx_cases.load(supported, work)
    exceptions = read_exceptions(f"{src}/testsuite/op/exceptions.txt")
    chosen = []
    for case in cases:
        why = next((r for p, r in exceptions.items() if fnmatch.fnmatch(case.name, p)), None)
        if parts and not any(p in case.name for p in parts):
            continue
        if why:
            left_out.append((case.name, why))
            continue
        onnx_cases.write(case, f"{work}/cases")
        chosen.append(case)
    print(f"{len(supported)} operators: {len(chosen)} cases, {len(left_out)} left out; {others} cases of other operators")
    jobs = [(i, chosen[i * BATCH:(i + 1) * BATCH], mlcc, cc, src, work) for i in range((len(chosen) + BATCH - 1) // BATCH)]
    passed = failed = 0
    with ThreadPoolExecutor(JOBS) as pool:
        for results in pool.map(batch_results, jobs):
            for way, verdicts in results.items():
                for name, why in sorted(verdicts.items()):
                    passed += why is None
                    failed += why is not None
                    if why is not None:
                        print(f"FAIL {name} ({way}): {why}", flush=True)
    for name, why in left_out:
        print(f"SKIP {name}: {why}")
    print(f"{time.time() - start:.0f} s")
    print(f"op: {passed} passed, {failed} failed, {len(left_out)} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
