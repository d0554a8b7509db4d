#!/usr/bin/env python3
"""Looks through the machine code of the vector kernel for what could depend on a secret.

    ct/scan.py PROGRAM [ct/roots.txt]

Secrets of the kernel live in vector registers. A conditional jump, or an address, can depend on one
only after it came back from there. So in each function that works on secrets (a root, listed in
roots.txt) this looks for

- gathers and scatters: addresses from lanes;
- instructions that carry lanes or masks to flags or general registers;
- conditional jumps, of which there may be as many as roots.txt states, with the reason;
- calls of functions that are no roots themselves and not listed as harmless.

Functions that only hand lists on to roots (glue) are looked through for all of it but jumps: theirs are
about lengths and memory, and as many as the compiler likes.

A root may carry masks to general registers, to pass them on, if roots.txt says how many: no jump of it
may then depend on them, which only a person can see.

Every function of the kernel must be listed: a new one fails until somebody has looked at it. A control
of its own shows that each rule finds what it looks for.
"""

import re
import subprocess
import sys
from pathlib import Path

JUMP = re.compile(r"^(j(?!mp)[a-z]+|loop[a-z]*)$")
GATHER = re.compile(r"^v?p?(gather|scatter)")
# Lanes or masks to flags or general registers. kmov between masks or from memory is harmless: what it
# must not have is a general register as its target, which is its last operand.
TO_FLAGS = re.compile(r"^(v?ptest|kortest[bwdq]|ktest[bwdq]|v?u?comis[sd]|vtestp[sd])$")
TO_GENERAL = re.compile(r"^(v?p?movmsk|v?pextr|v?mov[dq]$|kmov|v?cvtt?s[sd]2)")
GENERAL = re.compile(r"%(e|r)[a-z0-9]+$")


def functions(program):
    """Name and instructions (mnemonic, operands) of each function."""
    text = subprocess.run(
        ["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", "--no-addresses", program],
        check=True, capture_output=True, text=True,
    ).stdout
    return parse(text)


def parse(text):
    found, body = {}, None
    for line in text.splitlines():
        head = re.match(r"^<(.*)>:$", line)
        if head:
            # The hash behind the name differs from build to build; copies of a generic are one.
            name = re.sub(r"::h[0-9a-f]{16}$", "", head.group(1))
            body = found.setdefault(name, [])
        elif body is not None and line.startswith("\t"):
            words = line.strip().split(None, 1)
            if words:
                body.append((words[0], words[1] if len(words) > 1 else ""))
    return found


def findings(body, known, allowed_calls):
    """Conditional jumps, moves of lanes to general registers, and what must not be there."""
    jumps, moves, bad = 0, 0, []
    for name, operands in body:
        target = operands.split("#")[0].split("<")[0].strip()
        named = re.search(r"<([^+]*)>\s*$", operands)
        callee = re.sub(r"::h[0-9a-f]{16}$", "", named.group(1)) if named else None
        if JUMP.match(name):
            jumps += 1
        elif GATHER.match(name):
            bad.append(f"address from lanes: {name} {target}")
        elif TO_FLAGS.match(name):
            bad.append(f"lanes to flags: {name} {target}")
        elif TO_GENERAL.match(name) and GENERAL.search(target):
            moves += 1
        elif name.startswith("call") and target.startswith("*"):
            # Through a register, whose value a `lea` in the same function took (below), or through the
            # table of imports, which has what the linker put there: memory, panics.
            pass
        elif name.startswith("call") or name == "lea" and callee in known:
            if callee is not None and not any(re.search(allowed, callee) for allowed in allowed_calls):
                bad.append(f"call: {callee}")
    return jumps, moves, bad


def read_roots(path):
    """Roots with their jumps and moves; patterns that are not scanned; harmless callees."""
    roots, glue, public, calls = [], [], [], []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        kind, pattern, *rest = line.split(None, 4)
        if kind == "root" and len(rest) == 3:
            roots.append((pattern, int(rest[0]), int(rest[1]), rest[2]))
        elif kind == "glue" and rest:
            glue.append((pattern, sys.maxsize, 0, "glue"))
        elif kind == "public" and rest:
            public.append(pattern)
        elif kind == "call" and rest:
            calls.append(pattern)
        else:
            sys.exit(f"{path}:{number}: not understood: {line}")
    return roots, glue, public, calls


CONTROL = """
<control>:
\tvpgatherqq (%rax,%zmm1,8),%zmm0{%k1}
\tkortestw %k1,%k1
\tjne    <control+0x10>
\tkmovw  %k1,%eax
\tvmovq  %xmm0,%rax
\tvmovq  %rax,%xmm0
\tkmovb  (%rsi),%k1
\tcall   <memcmp>
\tlea    0x10(%rip),%r14        # <memcmp>
\tcall   *%r14
\tjmp    <control>
"""


def control():
    jumps, moves, bad = findings(parse(CONTROL)["control"], {"memcmp"}, [])
    kinds = [text.split(":")[0] for text in bad]
    expected = ["address from lanes", "lanes to flags", "call", "call"]
    if (jumps, moves, kinds) != (1, 2, expected):
        sys.exit(f"the control is not found: {jumps} jumps, {moves} moves, {kinds}")


def main():
    control()
    program = sys.argv[1]
    listed = sys.argv[2] if len(sys.argv) > 2 else Path(__file__).with_name("roots.txt")
    roots, glue, public, calls = read_roots(listed)
    known = functions(program)
    kernel = {name: body for name, body in known.items() if "group::ifma" in name or "sha512::avx512" in name}
    if not kernel:
        sys.exit(f"{program} has no function of the kernel")
    failed, seen = 0, set()
    allowed = calls + [root[0] for root in roots + glue]
    for name, body in sorted(kernel.items()):
        if any(re.search(pattern, name) for pattern in public):
            continue
        root = next((root for root in roots + glue if re.search(root[0], name)), None)
        jumps, moves, bad = findings(body, known, allowed)
        if root is None:
            bad.insert(0, "not listed")
        else:
            seen.add(root[0])
            if jumps > root[1]:
                bad.insert(0, f"{jumps} conditional jumps, {root[1]} are allowed: {root[3]}")
            if moves > root[2]:
                bad.insert(0, f"{moves} moves of lanes to general registers, {root[2]} are allowed")
        verdict = "FAIL" if bad else "ok  "
        print(f"{verdict} {name}: {len(body)} instructions, {jumps} jumps, {moves} moves")
        for text in dict.fromkeys(bad):
            print(f"       {text}")
        failed += bool(bad)
    for pattern, *_ in roots:
        if pattern not in seen:
            print(f"FAIL no function is {pattern}: renamed or inlined, and so not looked at")
            failed += 1
    sys.exit(f"{failed} functions fail" if failed else 0)


main()
