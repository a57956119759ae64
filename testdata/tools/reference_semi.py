#!/usr/bin/env python3
"""An inference of the protocol `semi`, message by message, in plain Python.

An independent description: it shares no code with the Rust runtime. docs/protocol-semi.md has the argument; this file runs a
program in text form (what `qnnc dis` prints) among two to ten parties and prints each message. Each party computes with what it
holds itself. What is made ahead is given: its equations are checked here, its messages are those of reference_ot.py.

    reference_semi.py -        reads a case as JSON, prints the messages as JSON: [round, sender, receiver, bytes in hexadecimal]

A case: program (text), parties, inputs and weights (lists of integers), pairs (`[p, q, seed]` for p < q), session, inference, and ahead:
for an instruction the list of what each party has of it. Tensors are flat; one that is shorter repeats along the last axes.
"""
import json
import math
import re
import sys

from reference_rep3_dealer import Pads
from reference_rep4 import Kind, add, mul, reduced, signed, to_bytes


def kind_of(text):
    """`arith<49>[1x1x1x64]` with its number of elements for its shape."""
    flat = re.sub(r"\[([\dx]*)\]", lambda m: f"[{math.prod(int(d) for d in m[1].split('x')) if m[1] else 1}]", text)
    return Kind(flat)


def repeated(x, count):
    return x * (count // len(x))


class World:
    def __init__(self, case):
        self.case, self.n = case, case["parties"]
        pairs = case["pairs"]
        self.pairs = {(p, q): i for i, (p, q, _) in enumerate(pairs)}
        seeds = [bytes.fromhex(seed) for _, _, seed in pairs]
        self.streams = Pads(seeds, bytes.fromhex(case["session"]), case["inference"])
        self.values, self.kinds, self.constants = {}, {}, []
        self.sent, self.messages = {}, []

    def parties(self):
        return range(self.n)

    def others(self, p):
        return [q for q in self.parties() if q != p]

    def send(self, p, q, kind, x):
        self.sent.setdefault((p, q), bytearray()).extend(to_bytes(kind, x))

    def close(self, number):
        self.messages += [[number, p, q, data.hex()] for (p, q), data in self.sent.items() if data]
        self.sent = {}

    def total(self, kind, x):
        """The sum of what all parties have."""
        whole = x[0]
        for p in range(1, self.n):
            whole = add(kind, whole, x[p])
        return whole

    def ahead(self, instruction, part, kind):
        """Words of each party: numbers as they are, bits as planes."""
        given = self.case["ahead"][str(instruction)]
        if not kind.bits:
            return [own[part] for own in given]
        each = -(-kind.count // 64)
        plane = lambda own, b: sum(w << (64 * i) for i, w in enumerate(own[part][b * each:(b + 1) * each]))
        return [[plane(own, b) % (1 << kind.count) for b in range(kind.width)] for own in given]

    # ---- exchanges

    def mul(self, i, kind, x, y):
        a, b, c = (self.ahead(i, part, kind) for part in range(3))
        whole = lambda v: self.reduced(kind, self.total(kind, v))
        assert self.reduced(kind, mul(kind, whole(a), whole(b))) == whole(c), f"no triple for instruction {i}"
        masked = [[add(kind, v[p], m[p], -1) for p in self.parties()] for v, m in ((x, a), (y, b))]
        for p in self.parties():
            for q in self.others(p):
                for v in masked:
                    self.send(p, q, kind, v[p])
        d, e = (self.total(kind, v) for v in masked)
        result = {}
        for p in self.parties():
            share = add(kind, c[p], add(kind, mul(kind, d, b[p]), mul(kind, e, a[p])))
            result[p] = add(kind, share, mul(kind, d, e)) if p == 0 else share
        return result

    def to_ring(self, i, kind, x, out):
        r = self.ahead(i, 0, kind)
        given = [own[1] for own in self.case["ahead"][str(i)]]
        each = 64 * -(-kind.count // 64)
        number = lambda p, plane, k: given[p][plane * each + k]
        masked = [add(kind, x[p], r[p]) for p in self.parties()]
        for p in self.parties():
            for q in self.others(p):
                self.send(p, q, kind, masked[p])
        e, bits = self.total(kind, masked), self.total(kind, r)
        result = {p: [0] * kind.count for p in self.parties()}
        for plane in range(kind.width):
            for k in range(kind.count):
                whole = sum(number(p, plane, k) for p in self.parties()) % (1 << out.width)
                assert whole == bits[plane] >> k & 1, f"no shared bit for instruction {i}"
                opened = e[plane] >> k & 1
                for p in self.parties():
                    own = number(p, plane, k)
                    share = opened * (p == 0) + (1 - 2 * opened) * own
                    result[p][k] += share << plane
        return result

    def linear(self, i, x, w, owner, out):
        """One row times a matrix `[out in]`."""
        masks = [own[0] for own in self.case["ahead"][str(i)]]
        summands = [own[1] for own in self.case["ahead"][str(i)]]
        size, weights = len(x[owner]), w[owner]
        times = lambda v: [sum(weights[o * size + j] * v[j] for j in range(size)) for o in range(out.count)]
        all_masks = [sum(masks[p][j] for p in self.others(owner)) for j in range(size)]
        mod = lambda v: [e % (1 << out.width) for e in v]
        assert mod(times(all_masks)) == mod(self.total(out, summands)), f"no products for instruction {i}"
        received = x[owner]
        for p in self.others(owner):
            masked = [a - b for a, b in zip(x[p], masks[p])]
            self.send(p, owner, Kind(f"arith<{out.width}>[{size}]"), masked)
            received = [a + b for a, b in zip(received, masked)]
        result = dict(enumerate(summands))
        result[owner] = [a + b for a, b in zip(summands[owner], times(received))]
        return result

    def open(self, i, kind, x, to):
        masked = []
        for p in self.parties():
            y = x[p]
            for q in self.others(p):
                step = 4 if kind.width <= 32 else 8
                data = self.streams.segment(None, self.pairs[min(p, q), max(p, q)], i, 0, step * kind.count)
                pad = [int.from_bytes(data[step * k:step * k + step], "little") for k in range(kind.count)]
                y = add(kind, y, pad, 1 if q > p else -1)
            masked.append(y)
        for p in self.others(to):
            self.send(p, to, kind, masked[p])
        return {to: [signed(v, kind.width) for v in self.total(kind, masked)]}

    # ---- local steps

    def reduced(self, kind, x):
        return [v % (1 << kind.width) for v in x] if not kind.bits else x

    def run(self):
        instruction, number, first = 0, 0, 0
        for line in self.case["program"].splitlines():
            line = line.strip()
            if m := re.match(r"const \d+ \[[\dx]*\] = \[(.*)\]$", line):
                self.constants.append([int(v) for v in m[1].split()])
            elif m := re.match(r"setup round (\d+) \{", line):
                number = first = int(m[1])
            elif m := re.match(r"round (\d+) \{", line):
                number = first + int(m[1])
            elif line.startswith("}"):
                self.close(number)
            elif m := re.match(r"v(\d+): (\S+) = (\w+) ?(.*)$", line):
                out = kind_of(m[2])
                immediates = dict(re.findall(r"(\w+)=(\S+?)(?:,|$)(?= |$)", m[4]))
                operands = [int(v) for v in re.findall(r"\bv(\d+)", m[4].split("=")[0])]
                result = self.step(instruction, m[3], operands, immediates, m[4], out)
                if out.form != "public":
                    result = {p: reduced(out, v) for p, v in result.items()}
                self.values[int(m[1])], self.kinds[int(m[1])] = result, out
                instruction += 1
            elif line.startswith("output v"):
                instruction += 1
        return self.messages

    def step(self, i, op, operands, imm, text, out):
        values = [self.values[v] for v in operands]
        x, kind = (values[0], self.kinds[operands[0]]) if operands else (None, None)
        y = values[1] if len(values) > 1 else None
        full = (1 << out.count) - 1
        each = lambda f: {p: f(v) for p, v in x.items()}

        def public():
            """Of bits: the planes that are set."""
            p = repeated(y, out.count)
            return [sum((e >> b & 1) << k for k, e in enumerate(p)) for b in range(out.width)] if out.bits else p

        def one(f):
            """A constant is the first holder's; all of them have it where each has the whole."""
            first = min(x)
            return {p: f(v) if p == first or kind.form == "held" else v for p, v in x.items()}

        if op == "constant":
            return self.constants[int(imm["index"])]
        if op == "input":
            return {out.at[0]: self.case["inputs"][int(imm["index"])]}
        if op == "weight":
            return {out.at[0]: self.case["weights"][int(imm["index"])]}
        if op in ("reshape", "softmax_h"):
            return x
        if op in ("as_sum", "embed"):
            holders = out.at or tuple(self.parties())
            zero = [0] * (out.width if out.bits else out.count)
            if kind.form == "held":
                return {p: x[p] if p == kind.at[0] else zero for p in holders}
            return x
        if op == "add":
            if out.bits:
                return {p: add(out, v, y[p]) for p, v in x.items()}
            return {p: add(out, repeated(v, out.count), repeated(y[p], out.count)) for p, v in x.items()}
        if op == "add_p":
            return one(lambda v: add(out, v, public()))
        if op == "mul_p":
            return each(lambda v: mul(out, v, public()))
        if op == "not":
            return one(lambda v: [plane ^ full for plane in v])
        if op == "operand":
            p = int(imm["index"])
            return {p: [v % (1 << kind.width) for v in x[p]]}
        if op == "planes_h":
            lo = int(imm["lo"])
            return each(lambda v: [sum((e >> (lo + b) & 1) << k for k, e in enumerate(v)) for b in range(out.width)])
        if op == "pick":
            planes = [int(p) for p in re.search(r"planes=\[?([\d ,]+)\]?", text)[1].replace(",", " ").split()]
            return each(lambda v: [v[p] for p in planes])
        if op == "stack":
            return {p: [plane for part in values for plane in part[p]] for p in x}
        if op == "mul":
            return self.mul(i, kind, x, y)
        if op == "to_ring":
            return self.to_ring(i, kind, x, out)
        if op == "conv2d_sh":
            assert "k1x1" in imm["window"], "of convolutions only rows times matrices"
            return self.linear(i, x, y, int(imm["at"].strip("{}")), out)
        if op == "open":
            return self.open(i, kind, x, int(imm["to"].strip("{}")))
        raise ValueError(f"no `{op}` in this description")


def main():
    print(json.dumps(World(json.load(sys.stdin)).run()))


if __name__ == "__main__":
    main()
