# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX cases of every operator that mlcc has, in every way that code is made.

    run.py MLCC CC SRC WORK [OPERATOR or NAME_PART...]

The official cases, and those of shapes.py, networks.py, attentions.py, packed.py, halves.py and contrib.py. By JIT with the schedules of several
targets, as C built plain and for this machine, and as an object; of the objects every third is enough. Prints FAIL and SKIP lines and the counts last; a
case passes once for each way.
"""
import fnmatch
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import attentions
import cases as onnx_cases
import contrib
import exporters
import halves
import networks
import packed
import shapes

JOBS = os.cpu_count() or 2
BATCH = 50
OBJECT_EVERY = 3  # the JIT makes the same code from all of them
# The schedules of these are run by JIT, whatever machine this is: they are kernel IR.
SCHEDULES = ["native", "generic", "x86-64-v3", "cortex-m55"]
FAST_SCHEDULES = ["x86-64-v3", "x86-64-v4"]
DOT_SCHEDULES = ["native", "cortex-a76"]
FIXED_SCHEDULES = ["generic", "rpi4"]
WAYS = {"c": "-Og", "c-native": "-Og -march=native", "object": None}
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
    lines = [line for line in text.strip().splitlines() if line.strip() and "being treated as" not in line]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no output"])[-1][-300:]


def jit_results(mlcc, batch, target, *options):
    """name -> None or why it failed. A crash costs the case it happened in; the rest runs again without it."""
    results, todo = {}, {c.folder: c for c in batch}
    while todo:
        status, text = run([mlcc, "verify", "-q", "--via", "jit", "--verify-ir", "--target", target, *options, *todo])
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


def fast_results(mlcc, batch, target):
    """The same with --math=fast; convolutions named winograd must be approximate, within ten times the tolerance."""
    results = jit_results(mlcc, batch, target, "--math=fast")
    for case in batch:
        if "winograd" in case.name and results[case.name] is None:
            _, text = run([mlcc, "check", "-q", "--target", target, "--math=fast", f"{case.folder}/model.onnx"])
            results[case.name] = None if "Winograd" in text else "without Winograd"
    return results


def as_stored(x):
    """Integers of less than 8 bits, which numpy has from elsewhere, as bytes."""
    return x.astype({"u": np.uint8, "i": np.int8}[x.dtype.name[0]]) if x.dtype.name in ("int2", "int4", "uint2", "uint4") else x


def differs(case, raw):
    """None when the bytes are the case's outputs within its tolerance, else what differs."""
    at = 0
    for _, outputs in case.data_sets:
        for j, want in enumerate(map(as_stored, outputs)):
            got = np.frombuffer(raw, np.uint8, want.nbytes, at).view(want.dtype).reshape(want.shape) if want.nbytes else want
            at += want.nbytes
            if want.dtype.kind in "biu" and case.atol < 1:
                same = np.array_equal(got, want)
            else:
                wide = [x.astype(np.float64) if x.dtype.kind != "c" else x for x in (got, want)]
                same = np.allclose(*wide, rtol=case.rtol, atol=case.atol, equal_nan=True)
            if not same:
                return f"output {j} differs: {str(got.ravel()[:4])} is not {str(want.ravel()[:4])}"
    return None if at == len(raw) else f"wrote {len(raw)} bytes, not {at}"


def own_names(path, prefix):
    """The names without the prefix that a generated file gives to functions and types: those of its helpers."""
    with open(path) as f:
        text = f.read()
    names = re.findall(r"^static [^=;{]*?(\w+)\(", text, re.M) + re.findall(r"^typedef \w+ (\w+)", text, re.M)
    return sorted({n for n in names if not n.startswith((prefix, "MLCC_"))})


def run_many(mlcc, commands):
    """Exit status and all output of mlcc with each of the arguments; by one process where the helper for that is up to date."""
    many = os.path.join(os.path.dirname(mlcc), "testsuite/op/many")
    if not os.path.exists(many) or os.path.getmtime(many) < os.path.getmtime(mlcc):
        return [run([mlcc, *c], 60) for c in commands]
    lines = "".join("\t".join(c) + "\n" for c in commands)
    said = subprocess.run([many], input=lines.encode(), stdout=subprocess.PIPE, timeout=3600).stdout
    results = []
    while len(results) < len(commands):
        head, _, said = said.partition(b"\n")
        status, length = map(int, head.split()) if head else (125, 0)
        results.append((status, said[:length].decode(errors="replace")))
        said = said[length:]
    return results


class Batch:
    """Some cases, compiled to C and to objects, and linked into one program for each way of building."""

    def __init__(self, number, cases, mlcc, cc, src, work):
        self.cases, self.mlcc, self.cc, self.src = cases, mlcc, cc, src
        self.folder = os.path.join(work, f"batch{number}")
        os.makedirs(self.folder, exist_ok=True)

    def compile(self, form, n=1):
        """Case numbers -> file, and the reasons of those that have none; of every n-th case."""
        files, failed = {}, {}
        chosen = list(enumerate(self.cases))[::n]
        paths = {i: f"{self.folder}/case{i}.{form}" for i, _ in chosen}
        results = run_many(self.mlcc, [["-q", f"{c.folder}/model.onnx", "-o", paths[i], "--target", "native"] for i, c in chosen])
        for (i, case), (status, text) in zip(chosen, results):
            if status:
                failed[case.name] = f"status {status}: {last_line(text)}"
            else:
                files[i] = paths[i]
        return files, failed

    def write_inputs(self):
        for case in self.cases:
            with open(f"{self.folder}/{case.name}.in", "wb") as f:
                for inputs, _ in case.data_sets:
                    for x in inputs:
                        f.write(np.ascontiguousarray(as_stored(x)).tobytes())

    def cc_unit(self, flags, sources, target):
        """Builds many generated files as one unit, which is ten times as fast; their helpers get names of their own."""
        unit = target + ".c"
        with open(unit, "w") as f:
            f.write("#include <string.h>\n#if defined(__SSE2__)\n#include <immintrin.h>\n#elif defined(__ARM_NEON)\n"
                    "#include <arm_neon.h>\n#endif\n")
            for i, source in sources.items():
                names = own_names(source, f"case{i}_")
                f.writelines(f"#define {n} case{i}_{n}\n" for n in names)
                f.write(f'#include "{source}"\n')
                f.writelines(f"#undef {n}\n" for n in [*names, "MLCC_RESTRICT", "MLCC_ALIGN", "MLCC_INLINE", "MLCC_SECTION"])
        return run([*shlex.split(self.cc), *shlex.split(WARNINGS), *shlex.split(flags), "-c", unit, "-o", target], 300)

    def build(self, flags, way, sources):
        """Objects, and case numbers with the compiler's complaint. Only if a unit fails, each file by itself."""
        target = f"{self.folder}/{way}.o"
        if self.cc_unit(flags, sources, target)[0] == 0:
            return [target], {}
        objects, bad = [], {}
        for i, source in sources.items():
            target = f"{self.folder}/{way}-{i}.o"
            status, text = self.cc_unit(flags, {i: source}, target)
            if status:
                bad[i] = "cc: " + last_line(text)
            else:
                objects.append(target)
        return objects, bad

    def run(self, way, objects, numbers):
        name_of = {i: self.cases[i].name for i in numbers}
        program = f"{self.folder}/{way}"
        with open(f"{self.folder}/models.h", "w") as f:
            f.writelines(f'MODEL("{name}", case{i}_model)\n' for i, name in name_of.items())
        status, text = run([*shlex.split(self.cc), "-O1", f"-I{self.folder}", f"-I{self.src}/runtime", "-include", "stdint.h",
                            f"{self.src}/testsuite/op/harness.c", *objects, "-o", program], 120)
        if status:
            return {name: "link: " + last_line(text) for name in name_of.values()}
        _, text = run([program, self.folder])
        status = dict(line.rsplit(" ", 1) for line in text.splitlines() if " " in line)
        results = {}
        for i, name in name_of.items():
            if status.get(name) != "0":
                results[name] = f"the program ended with status {status.get(name)}"
            else:
                with open(f"{self.folder}/{name}.out", "rb") as f:
                    results[name] = differs(self.cases[i], f.read())
        return results

    def results(self):
        self.write_inputs()
        sources, failed = self.compile("c")
        found = {}
        for way, flags in WAYS.items():
            if flags is None:
                files, bad = self.compile("o", OBJECT_EVERY)
                found[way] = dict(bad)
                objects = list(files.values())
            else:
                files = dict(sources)
                found[way] = dict(failed)
                objects, bad = self.build(flags, way, sources) if sources else ([], {})
                for i, why in bad.items():
                    found[way][self.cases[i].name] = why
                    del files[i]
            if files:
                found[way].update(self.run(way, objects, list(files)))
        return found


def batch_results(batch):
    number, cases, mlcc, cc, src, work = batch
    results = {f"jit {t}": jit_results(mlcc, cases, t) for t in SCHEDULES}
    fast = [c for c in cases if "ai.onnx:Conv" in onnx_cases.operators(c.model)]
    packed_products = [c for c in cases if c.name.startswith(("packed_matmul", "packed_gemm", "contrib_matmulnbits"))]
    # Fixed point rounds ties otherwise, which the own networks' tolerance of one step allows.
    steps = [c for c in cases if c.name.startswith("networks_") and c.atol >= 1]
    results.update({f"jit fixed {t}": jit_results(mlcc, steps, t, "--requant=fixed") for t in FIXED_SCHEDULES})
    results.update({f"jit fast {t}": fast_results(mlcc, fast, t) for t in FAST_SCHEDULES})
    results.update({f"jit fast {t}": jit_results(mlcc, packed_products, t, "--math=fast") for t in DOT_SCHEDULES})
    results["jit x86-64-v4"] = jit_results(mlcc, packed_products, "x86-64-v4")
    results.update(Batch(number, cases, mlcc, cc, src, work).results())
    return results


def read_exceptions(path):
    """pattern -> reason, of cases that mlcc does not mean to run."""
    rows = [line.split("#")[0].strip() for line in open(path)]
    return dict(tuple(part.strip() for part in row.split(":", 1)) for row in rows if row)


def is_meant(parts, name, model):
    """Whether a word on the command line is part of the case's name or the name of an operator in it; no words: any."""
    names = {o.split(":")[1].lower() for o in onnx_cases.operators(model)} if model else set()
    return not parts or any(p in name or p.lower() in names for p in parts)


def choose(cases, left_out, exceptions):
    """Those to run; those that the exceptions name are added to left_out."""
    chosen = []
    for case in cases:
        why = next((r for p, r in exceptions.items() if fnmatch.fnmatch(case.name, p)), None)
        if why:
            left_out.append((case.name, why))
        else:
            chosen.append(case)
    return chosen


def print_left_out(left_out, others):
    """One line for each reason; the number of cases."""
    by_reason = {}
    for name, why in left_out:
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        print(f"SKIP {len(names)} ({why}): {' '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    if others:
        print("SKIP operators not in mlcc: " + ", ".join(f"{name} {count}" for name, count in sorted(others.items())))
    return len(left_out) + sum(others.values())


def against_runtime(rows):
    """Whether onnxruntime, which defines these operators, expects the same of them."""
    ort, counts = contrib.runtime(), [0, 0]
    for name, why in contrib.against_runtime(ort, rows).items() if ort else []:
        counts[bool(why)] += why != ""
        if why:
            print(f"FAIL {name} (expected output): {why}", flush=True)
    return counts


def main():
    mlcc, cc, src, work, *parts = sys.argv[1:]
    status, text = run([mlcc, "check", "--list-operators"])
    supported = set(text.split())
    if status or not supported:
        print("FAIL op: mlcc check --list-operators prints nothing")
        print("op: 0 passed, 1 failed, 0 skipped")
        return 1
    start = time.time()

    def meant(source):
        return (case for case in source if is_meant(parts, case[0], case[1]))

    cases, left_out, others = onnx_cases.load(supported, meant(onnx_cases.official(work)))
    of_contrib = list(meant(contrib.cases()))
    sources = itertools.chain(shapes.cases(), networks.cases(), attentions.cases(), packed.cases(), exporters.cases(), halves.cases())
    own, own_left_out, own_others = onnx_cases.load(supported, itertools.chain(meant(sources), of_contrib))
    left_out += own_left_out
    left_out += [(name, "ONNX's reference fails itself") for name in shapes.without_reference if is_meant(parts, name, None)]
    others.update(own_others)
    chosen = choose(cases + own, left_out, read_exceptions(f"{src}/testsuite/op/exceptions.txt"))
    for case in chosen:
        onnx_cases.write(case, f"{work}/cases")
    print(f"{len(supported)} operators, {len(chosen)} cases ({len(own)} of them our own)", flush=True)
    jobs = [(i, chosen[i * BATCH:(i + 1) * BATCH], mlcc, cc, src, work) for i in range((len(chosen) + BATCH - 1) // BATCH)]
    passed, failed = against_runtime(of_contrib)
    with ThreadPoolExecutor(JOBS) as pool:
        for results in pool.map(batch_results, jobs):
            for way, verdicts in results.items():
                for name, why in sorted(verdicts.items()):
                    passed += why is None
                    failed += why is not None
                    if why is not None:
                        print(f"FAIL {name} ({way}): {why}", flush=True)
    skipped = print_left_out(left_out, others)
    print(f"{time.time() - start:.0f} s")
    print(f"op: {passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
