#!/usr/bin/env python3
"""The protocol `rep4`, message by message, in plain Python.

An independent description: it shares no code with the Rust runtime. docs/protocol-rep4.md has the argument; this file runs a
program in text form (what `qnnc dis` prints) among four parties and prints each message, pads and hashes included. Each party
computes with what it holds itself.

    reference_rep4.py -        reads a case as JSON, prints the messages as JSON: [round, sender, receiver, bytes in hexadecimal]

A case: program (text), inputs (list of lists), seeds (seeds[l] is that of key l, which party l lacks), session, inference.
Tensors have one axis or none, as in the programs of single gadgets.
"""
import json
import re
import sys

from reference_rep3_dealer import IV, ORDER, Pads

PARTIES = range(4)
# Who knows a message, and who receives it.
ROUTES = [((0, 1), 2), ((1, 2), 3), ((2, 3), 0), ((3, 0), 1), ((0, 2), 1), ((1, 3), 0)]
OWNER = 6


# ---- BLAKE3 of any length -------------------------------------------------------------------------------------------

def compress(chain, block, counter, length, flags):
    v = list(chain) + list(IV[:4]) + [counter & 0xFFFFFFFF, counter >> 32, length, flags]
    block = list(block)

    def mix(a, b, c, d, x, y):
        for word, turns in ((x, (16, 12)), (y, (8, 7))):
            v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
            v[d] ^= v[a]
            v[d] = (v[d] >> turns[0] | v[d] << (32 - turns[0])) & 0xFFFFFFFF
            v[c] = (v[c] + v[d]) & 0xFFFFFFFF
            v[b] ^= v[c]
            v[b] = (v[b] >> turns[1] | v[b] << (32 - turns[1])) & 0xFFFFFFFF

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, block[2 * i], block[2 * i + 1])
        for i in range(4):
            mix(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, block[8 + 2 * i], block[9 + 2 * i])
        block = [block[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def words(data):
    return [int.from_bytes(data[i:i + 4], "little") for i in range(0, 64, 4)]


def blake3(data):
    def chunk(part, index, root):
        chain, blocks = list(IV), [part[i:i + 64] for i in range(0, len(part), 64)] or [b""]
        for i, b in enumerate(blocks):
            last = i + 1 == len(blocks)
            flags = (1 if i == 0 else 0) | (2 if last else 0) | (8 if last and root else 0)
            chain = compress(chain, words(b.ljust(64, b"\0")), index, len(b), flags)
        return chain

    def tree(part, index, root):
        if len(part) <= 1024:
            return chunk(part, index, root)
        left = 1024
        while 2 * left < len(part):
            left *= 2
        both = tree(part[:left], index, False) + tree(part[left:], index + left // 1024, False)
        return compress(list(IV), both, 0, 64, 4 | (8 if root else 0))

    return b"".join(w.to_bytes(4, "little") for w in tree(bytes(data), 0, True))


# ---- pieces: numbers mod 2^k as lists, bits as lists of planes, a plane being one integer --------------------------------

class Kind:
    """`arith<13>[8]`, `heldbits<4>[8]@{2}` and the like."""

    def __init__(self, text):
        m = re.match(r"(arith|sum|held|bitsum|heldbits|bits|public)(?:<(\d+)>)?\[(\d*)\](?:@\{([\d,]+)\})?$", text)
        assert m, f"a type that is not of a single gadget: {text}"
        self.name, self.width = m[1], int(m[2] or 64)
        self.count = int(m[3]) if m[3] else 1
        self.at = tuple(int(p) for p in m[4].split(",")) if m[4] else ()
        self.bits = self.name in ("bits", "bitsum", "heldbits")
        self.form = {"arith": "shared", "bits": "shared", "sum": "sum", "bitsum": "sum", "held": "held",
                     "heldbits": "held", "public": "public"}[self.name]


def add(kind, x, y, sign=1):
    if kind.bits:
        return [a ^ b for a, b in zip(x, y)]
    return [a + sign * b for a, b in zip(x, y)]


def mul(kind, x, y):
    return [a & b for a, b in zip(x, y)] if kind.bits else [a * b for a, b in zip(x, y)]


def signed(x, bits):
    x %= 1 << bits
    return x - (1 << bits) if x >> (bits - 1) else x


def reduced(kind, x):
    """What a party keeps: ring elements mod 2^k, held numbers as signed 64-bit words."""
    if kind.bits:
        return x
    return [signed(v, 64) for v in x] if kind.form in ("held", "public") else [v % (1 << kind.width) for v in x]


def to_bytes(kind, x):
    if kind.bits:
        return b"".join(p.to_bytes(-(-kind.count // 8), "little") for p in x)
    word = sum(v % (1 << kind.width) << (kind.width * i) for i, v in enumerate(x))
    return word.to_bytes(-(-kind.width * kind.count // 8), "little")


def others(p):
    return [q for q in PARTIES if q != p]


class World:
    def __init__(self, case):
        self.case = case
        seeds = [bytes.fromhex(s) for s in case["seeds"]]
        self.pads = Pads(seeds, bytes.fromhex(case["session"]), case["inference"])
        self.values, self.kinds, self.constants = {}, {}, []
        self.sent, self.vouched, self.messages = {}, {}, []

    def pad(self, party, key, instruction, purpose, kind):
        step = (-(-kind.count // 64) * 8) if kind.bits else (4 if kind.width <= 32 else 8)
        n = kind.width if kind.bits else kind.count
        size = 1 << (kind.count if kind.bits else kind.width)
        data = self.pads.segment(party, key, instruction, purpose, step * n)
        return [int.from_bytes(data[step * i:step * i + step], "little") % size for i in range(n)]

    def joint(self, pair, to, message):
        """Each of the two sends one half and vouches for the other."""
        half = -(-len(message) // 2)
        for p, mine, theirs in ((pair[0], message[:half], message[half:]), (pair[1], message[half:], message[:half])):
            self.sent.setdefault((p, to), bytearray()).extend(mine)
            self.vouched.setdefault((p, to), bytearray()).extend(theirs)

    def close(self, number):
        for p in PARTIES:
            for q in others(p):
                data = bytes(self.sent.get((p, q), b""))
                if (p, q) in self.vouched:
                    data += blake3(self.vouched[p, q])
                if data:
                    self.messages.append([number, p, q, data.hex()])
        self.sent, self.vouched = {}, {}

    # ---- exchanges

    def reshare(self, i, x, kind, out):
        parts = {p: {l: [0] * (out.width if out.bits else out.count) for l in others(p)} for p in PARTIES}

        def put(holders, l, data):
            for p in holders:
                parts[p][l] = reduced(out, add(out, parts[p][l], data))

        if kind.form == "held" and len(kind.at) == 1:
            owner = kind.at[0]
            a, b, c = [(owner + k) % 4 for k in (1, 2, 3)]
            rest = x[owner]
            for l in (a, b):
                for p in others(l):
                    put([p], l, self.pad(p, l, i, OWNER, out))
                rest = add(out, rest, self.pad(owner, l, i, OWNER, out), -1)
            rest = reduced(out, rest)
            for to in (a, b):
                self.sent.setdefault((owner, to), bytearray()).extend(to_bytes(out, rest))
            put((owner, a, b), c, rest)
            return parts
        for number, (pair, to) in enumerate(ROUTES):
            if kind.form == "held" and set(pair) != set(kind.at):
                continue
            fourth = ({0, 1, 2, 3} - set(pair) - {to}).pop()
            known = []
            for p in pair:
                own = x[p] if kind.form == "held" else x[p][frozenset(pair)]
                known.append(reduced(out, add(out, own, self.pad(p, to, i, number, out), -1)))
            assert known[0] == known[1], "two parties know different messages"
            self.joint(pair, to, to_bytes(out, known[0]))
            for p in (*pair, fourth):
                put([p], to, self.pad(p, to, i, number, out))
            put((*pair, to), fourth, known[0])
        return parts

    def echo(self, x, kind, owner):
        a, b, c = [(owner + k) % 4 for k in (1, 2, 3)]
        for p, q in ((a, b), (b, a)):
            self.vouched.setdefault((p, q), bytearray()).extend(to_bytes(kind, x[p][c]))

    def open(self, x, kind, to):
        first, second = (to + 1) % 4, (to + 2) % 4
        assert x[first][to] == x[second][to]
        self.joint((first, second), to, to_bytes(kind, x[first][to]))
        whole = x[first][to]
        for l in others(to):
            whole = add(kind, whole, x[to][l])
        return {to: [signed(v, kind.width) for v in whole]}

    # ---- local steps

    def each(self, x, f):
        """Each piece of each party."""
        return {p: {name: f(v) for name, v in own.items()} if isinstance(own, dict) else f(own) for p, own in x.items()}

    def one(self, kind, x, f):
        """The piece that takes a constant: part 3, the summand of parties 0 and 1, or what is held."""
        name = {"shared": 3, "sum": frozenset((0, 1))}.get(kind.form)
        if name is None:
            return {p: f(v) for p, v in x.items()}
        return {p: {n: f(v) if n == name else v for n, v in own.items()} for p, own in x.items()}

    def public(self, v, count):
        data = self.values[v]
        return data * count if len(data) == 1 and count > 1 else data

    def run(self):
        instruction, number = 0, 0
        for line in self.case["program"].splitlines():
            line = line.strip()
            if m := re.match(r"const \d+ \[\d*\] = \[(.*)\]$", line):
                self.constants.append([int(v) for v in m[1].split()])
            elif m := re.match(r"round (\d+) \{", line):
                number = int(m[1])
            elif line.startswith("}"):
                self.close(number)
            elif m := re.match(r"v(\d+): (\S+) = (\w+) ?(.*)$", line):
                out = Kind(m[2])
                immediates = dict(re.findall(r"(\w+)=(\S+?)(?:,|$)(?= |$)", m[4]))
                operands = [int(v) for v in re.findall(r"\bv(\d+)", m[4].split("=")[0])]
                result = self.step(instruction, m[3], operands, immediates, m[4], out)
                result = reduced(out, result) if out.form == "public" else self.each(result, lambda v: reduced(out, v))
                self.values[int(m[1])], self.kinds[int(m[1])] = result, out
                instruction += 1
            elif line.startswith("output v"):
                instruction += 1
        return self.messages

    def step(self, i, op, operands, imm, text, out):
        values = [self.values[v] for v in operands]
        kinds = [self.kinds[v] for v in operands]
        x, kind = (values[0], kinds[0]) if operands else (None, None)
        full = (1 << out.count) - 1

        def pieces(f):
            y = values[1]
            return {p: {n: f(v, y[p][n]) for n, v in own.items()} if isinstance(own, dict) else f(own, y[p])
                    for p, own in x.items()}

        if op == "constant":
            return self.constants[int(imm["index"])]
        if op == "input":
            return {out.at[0]: self.case["inputs"][int(imm["index"])]}
        if op == "reshare":
            return self.reshare(i, x, kind, out)
        if op == "echo":
            self.echo(x, kind, int(imm["from"].strip("{}")))
            return x
        if op == "open":
            return self.open(x, kind, int(imm["to"].strip("{}")))
        if op in ("add", "sub"):
            return pieces(lambda a, b: add(out, a, b, 1 if op == "add" else -1))
        if op in ("add_p", "sub_p"):
            public = self.public(operands[1], out.count)
            return self.one(kind, x, lambda v: add(out, v, public, 1 if op == "add_p" else -1))
        if op == "mul_p":
            public = self.public(operands[1], out.count)
            return self.each(x, lambda v: mul(out, v, public))
        if op == "sub_pp":
            return [a - b for a, b in zip(self.public(operands[0], out.count), self.public(operands[1], out.count))]
        if op == "not":
            return self.one(kind, x, lambda v: [plane ^ full for plane in v])
        if op == "cast":
            return x
        if op == "sext_h":
            return self.each(x, lambda v: [signed(e, int(imm["bits"])) for e in v])
        if op == "align_hp":
            to, public = int(imm["to"]), self.public(operands[1], out.count)
            return self.each(x, lambda v: [(e % (1 << s)) << (to - s) if 0 < s <= to else 0 for e, s in zip(v, public)])
        if op == "sar_hp":
            public = self.public(operands[1], out.count)
            return self.each(x, lambda v: [e >> min(s, 63) for e, s in zip(v, public)])
        if op == "planes_h":
            lo = int(imm["lo"])
            plane = lambda v, b: sum((e >> (lo + b) & 1) << k for k, e in enumerate(v))
            return self.each(x, lambda v: [plane(v, b) for b in range(out.width)])
        if op == "number_h":
            return self.each(x, lambda v: [sum((p >> k & 1) << b for b, p in enumerate(v)) for k in range(out.count)])
        if op == "onehot_h":
            size = int(imm["chunk"])

            def hot(v):
                found = []
                for at in range(0, len(v), size):
                    part = v[at:at + size]
                    digit = [sum((p >> k & 1) << b for b, p in enumerate(part)) for k in range(out.count)]
                    found += [sum((d == j) << k for k, d in enumerate(digit)) for j in range(1, 1 << len(part))]
                return found
            return self.each(x, hot)
        if op == "pick":
            planes = [int(p) for p in re.search(r"planes=\[?([\d ,]+)\]?", text)[1].replace(",", " ").split()]
            return self.each(x, lambda v: [v[p] for p in planes])
        if op == "stack":
            return {p: {n: [plane for part in values for plane in part[p][n]] for n in own} if isinstance(own, dict)
                    else [plane for part in values for plane in part[p]] for p, own in x.items()}
        if op == "mix_p":
            table = values[1]

            def mixed(v):
                results = []
                for j in range(out.width):
                    plane = 0
                    for entry, p in zip(table[1:], v):
                        plane ^= p if entry >> j & 1 else 0
                    results.append(plane)
                return results
            linear = self.each(x, mixed)
            return self.one(out, linear, lambda v: [p ^ (full if table[0] >> j & 1 else 0) for j, p in enumerate(v)])
        if op == "operand":
            group, parts = [((0, 1), (2, 3)), ((2, 3), (0, 1))][int(imm["index"])]
            whole = lambda p: add(kind, x[p][parts[0]], x[p][parts[1]])
            return {p: whole(p) if kind.bits else [v % (1 << kind.width) for v in whole(p)] for p in group}
        if op == "as_sum":
            zero = [0] * (out.width if out.bits else out.count)
            result = {p: {frozenset((p, q)): zero for q in others(p)} for p in PARTIES}
            if kind.form == "held":
                pair = kind.at[:2]
                for p in pair:
                    result[p][frozenset(pair)] = x[p]
            elif kind.form == "sum":
                result = x
            else:
                for l in PARTIES:
                    pair = ((l + 1) % 4, (l + 2) % 4)
                    for p in pair:
                        result[p][frozenset(pair)] = x[p][l]
            return result
        if op == "mul_hh":
            return pieces(lambda a, b: mul(out, a, b))
        if op == "mul_ss":
            y = values[1]

            def summand(p, q):
                a, b = sorted(set(PARTIES) - {p, q})
                found = add(out, mul(out, x[p][a], y[p][b]), mul(out, x[p][b], y[p][a]))
                for l in (a, b):
                    if {(l + 1) % 4, (l + 2) % 4} == {p, q}:
                        found = add(out, found, mul(out, x[p][l], y[p][l]))
                return found
            return {p: {frozenset((p, q)): summand(p, q) for q in others(p)} for p in PARTIES}
        raise ValueError(f"no `{op}` in programs of single gadgets")


def main():
    print(json.dumps(World(json.load(sys.stdin)).run()))


if __name__ == "__main__":
    main()
