#!/usr/bin/env python3
"""The checks of replicated products, message by message, in plain Python.

An independent description: it shares no code with the Rust runtime. docs/protocol-rep3-mal.md has the argument; this file has
every byte of one small check, or of some early ones and the last. Pads are those of reference_rep3_dealer.py.

    reference_check.py CASE.json    (-: from standard input) prints each message as JSON: [step, from, to, hex]

A case: seeds[j] and session (hex), key j being the one that party j lacks; inference, instruction (of the first check, the next one
has the next); chunks, lists of claims in order: all but the last list are checked early. A claim is
    {"bits": null or ring width, "lanes": n, "terms": [[a, b], …], "c": c}          c = sum of a·b, lane by lane
    {"bits": width, "conv": {batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups, depthwise}, "x", "w", "c"}
and each value is its three parts, lists of numbers; for bits (width null) numbers are 64-bit words of planes.
"""
import json
import sys

from reference_rep3_dealer import aes128, blake3_keyed

D = 64
WIDEST = 6


# ---- elements: 64 coefficients mod 2^k, X^64 = -(X^4 + X^3 + X + 1) ----------------------------------------------------

class Ring:
    def __init__(self, k, later):
        self.k, self.mod, self.later = k, 1 << k, later
        self.zero, self.one = [0] * D, [1] + [0] * (D - 1)

    def challenge(self, word):
        return [word >> i & 1 for i in range(D)]

    def add(self, a, b):
        return [(x + y) % self.mod for x, y in zip(a, b)]

    def sub(self, a, b):
        return [(x - y) % self.mod for x, y in zip(a, b)]

    def mul(self, a, b):
        # As whole numbers, one coefficient in 17 bytes: 64 products of 64 bits take at most 134 bits.
        number = 1
        for v in (a, b):
            number *= int.from_bytes(b"".join(x.to_bytes(17, "little") for x in v), "little")
        data = number.to_bytes(17 * 2 * D, "little")
        wide = [int.from_bytes(data[i:i + 17], "little") for i in range(0, len(data), 17)]
        for i in range(2 * D - 1, D - 1, -1):
            for to in (0, 1, 3, 4):
                wide[i - D + to] -= wide[i]
        return [x % self.mod for x in wide[:D]]

    def lanes(self, a, b):
        return [x * y % self.mod for x, y in zip(a, b)]

    def scale(self, number, a):
        return [number * x % self.mod for x in a]

    def sum(self, items):
        out = self.zero
        for x in items:
            out = self.add(out, x)
        return out

    def dot(self, xs, ys):
        return self.sum(self.mul(x, y) for x, y in zip(xs, ys))

    def size(self):
        return D * self.k // 8

    def write(self, a):
        return sum(x << self.k * i for i, x in enumerate(a)).to_bytes(self.size(), "little")

    def read(self, data):
        number = int.from_bytes(data, "little")
        return [number >> self.k * i & (self.mod - 1) for i in range(D)]


RINGS = [Ring(1, 6), Ring(32, 4), Ring(64, 4)]


def tensor(ring, coins, count):
    """Coefficient i is the product of the coins at the bits that are set in i."""
    out = []
    for i in range(count):
        value = ring.one
        for b, coin in enumerate(coins):
            if i >> b & 1:
                value = ring.mul(value, ring.challenge(coin))
        out.append(value)
    return out


def index_bits(count):
    return max(count - 1, 0).bit_length()


def digits(point, t):
    return [point // 3**v % 3 for v in range(t)]


# ---- streams -----------------------------------------------------------------------------------------------------------

class Stream:
    """A segment of a key: purpose within (inference, instruction)."""

    def __init__(self, seed, session, inference, instruction, purpose):
        key = blake3_keyed(seed, b"qnnvm key stream 1\0" + session)
        address = inference.to_bytes(8, "little") + instruction.to_bytes(4, "little") + purpose.to_bytes(4, "little")
        self.block = aes128(blake3_keyed(key, address)[:16])
        self.counter, self.buffer = 0, b""

    def take(self, count):
        while len(self.buffer) < count:
            self.buffer += bytes(self.block(list(self.counter.to_bytes(8, "little") + bytes(8))))
            self.counter += 1
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out


def blake3(data):
    """Unkeyed BLAKE3 of at most one chunk."""
    return blake3_plain(data)


IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]


def compress(chain, block, counter, length, flags):
    m = [int.from_bytes(block[4 * i:4 * i + 4], "little") for i in range(16)]
    v = chain + IV[:4] + [counter & 0xFFFFFFFF, counter >> 32, length, flags]

    def turn(x, by):
        return (x >> by | x << 32 - by) & 0xFFFFFFFF

    def mix(a, b, c, d, x, y):
        for word, (r, s) in ((x, (16, 12)), (y, (8, 7))):
            v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
            v[d] = turn(v[d] ^ v[a], r)
            v[c] = (v[c] + v[d]) & 0xFFFFFFFF
            v[b] = turn(v[b] ^ v[c], s)

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            mix(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)], [v[i + 8] ^ chain[i] for i in range(8)]


def blake3_plain(data):
    def chunk(index, part, root):
        chain = IV
        blocks = [part[i:i + 64] for i in range(0, len(part), 64)] or [b""]
        for i, block in enumerate(blocks):
            flags = (i == 0) | 2 * (i == len(blocks) - 1) | 8 * (root and i == len(blocks) - 1)
            chain, _ = compress(chain, block.ljust(64, b"\0"), index, len(block), flags)
        return chain

    def words(chain):
        return b"".join(x.to_bytes(4, "little") for x in chain)

    def tree(first, part, root):
        chunks = -(-len(part) // 1024) or 1
        if chunks == 1:
            return chunk(first, part, root)
        left = 1 << (chunks - 1).bit_length() - 1
        both = words(tree(first, part[:1024 * left], False)) + words(tree(first + left, part[1024 * left:], False))
        return compress(IV, both, 0, 64, 4 | 8 * root)[0]

    return words(tree(0, data, True))


# ---- one kind of ring: what is left to check is sum f_i·g_i = z, in three parts each ---------------------------------

class Kind:
    def __init__(self, ring, claims, convs, carried, early):
        """`carried`: f, g, z that an early check has left."""
        self.ring, self.convs, self.carried, self.early = ring, convs, carried, early
        self.claims = [c for c in claims if c["lanes"]]
        total = sum(len(self.blocks(c["c"][0], c)) * len(c["terms"]) for c in self.claims)
        self.t = min(WIDEST, (max(total, 1).bit_length() - 1) // 2)
        self.groups = [-(-len(self.blocks(c["c"][0], c)) // 2**self.t) for c in self.claims]
        self.terms = sum(g * len(c["terms"]) for g, c in zip(self.groups, self.claims))
        self.levels = []
        depth = sum(conv_depth(c["conv"]) for c in convs) + (len(carried[0][0]) if carried else 0)
        if self.terms + depth == 0:
            return
        self.levels.append((self.t, [p for p in range(3**self.t) if 2 in digits(p, self.t)]))
        left = D * self.terms + depth
        while not early or left >= 1 << ring.later and len(self.levels) < 2:
            t = left.bit_length() if left < 1 << ring.later else ring.later
            self.levels.append((t, list(range(1, 3**t))))
            if left < 1 << ring.later:
                break
            left = -(-left // 2**t)

    def blocks(self, part, claim):
        """Elements of 64 lanes."""
        if claim["bits"] is None:
            words = -(-claim["lanes"] // 64)
            out = []
            for i, word in enumerate(part):
                inside = min(64, claim["lanes"] - 64 * (i % words))
                out.append([word >> j & 1 if j < inside else 0 for j in range(64)])
            return out
        return [(part[i:i + D] + [0] * D)[:D] for i in range(0, len(part), D)]

    def laid(self, part, claim, raised):
        """Elements of a part, filled up to whole groups."""
        bits = claim["bits"]
        up = 0 if bits is None or not raised else self.ring.k - bits
        # What is above the ring is arbitrary.
        mod = self.ring.mod if bits is None or raised else 1 << bits
        out = [[(x << up) % mod for x in e] for e in self.blocks(part, claim)]
        return out + [self.ring.zero] * (-len(out) % 2**self.t)

    def begin(self, coins, inner, chi):
        """`chi` is the coefficient of what was left."""
        r = self.ring
        if self.carried:
            f, g, z = self.carried
            inner = inner + [([[r.mul(chi, v) for v in part] for part in f], g, [r.mul(chi, v) for v in z])]
        if not self.levels:
            return
        coefficients = tensor(r, coins[:index_bits(sum(self.groups))], sum(self.groups))
        self.f, self.g, self.weights, c = [[], [], []], [[], [], []], [], [[], [], []]
        at = 0
        for claim, groups in zip(self.claims, self.groups):
            for a, b in claim["terms"]:
                for j in range(3):
                    self.f[j] += self.laid(a[j], claim, True)
                    self.g[j] += self.laid(b[j], claim, False)
                self.weights += coefficients[at:at + groups]
            for j in range(3):
                c[j] += self.laid(claim["c"][j], claim, True)
            at += groups
        self.known = [[r.dot(coefficients, c[j][k::2**self.t]) for k in range(2**self.t)] for j in range(3)]
        self.inner = inner

    def at_point(self, vector, t, point):
        """The blocks of a vector, combined as the point says: 0, 1 or the difference in each variable."""
        r = self.ring
        vector = vector + [r.zero] * (-len(vector) % 2**t)
        blocks = [vector[k::2**t] for k in range(2**t)]
        for d in digits(point, t):
            low, high = blocks[0::2], blocks[1::2]
            blocks = [[[a, b, r.sub(b, a)][d] for a, b in zip(x, y)] for x, y in zip(low, high)]
        return blocks[0]

    def summands(self, level, point):
        """Of each party."""
        t = self.levels[level][0]
        f, g = ([self.at_point(v[j], t, point) for j in range(3)] for v in (self.f, self.g))
        return [self.summand(level, f[(p + 1) % 3], f[(p + 2) % 3], g[(p + 1) % 3], g[(p + 2) % 3]) for p in range(3)]

    def summand(self, level, x1, x2, y1, y2):
        r = self.ring
        if level == 0:
            return r.sum(r.mul(w, r.add(r.lanes(a, r.add(c, d)), r.lanes(b, c)))
                         for w, a, b, c, d in zip(self.weights, x1, x2, y1, y2))
        return r.sum(r.add(r.mul(a, r.add(c, d)), r.mul(b, c)) for a, b, c, d in zip(x1, x2, y1, y2))

    def mask(self, level, streams):
        """The last level: a random product in the last place."""
        if self.early or level != len(self.levels) - 1 or not self.levels:
            return
        t = self.levels[level][0]
        for j in range(3):
            for v in (self.f[j], self.g[j]):
                v += [self.ring.zero] * (2**t - 1 - len(v))
                v.append(self.ring.read(streams[j].take(self.ring.size())))

    def fold(self, level, coins, values):
        r, (t, sent), last = self.ring, self.levels[level], not self.early and level == len(self.levels) - 1
        zeta = [r.challenge(1 if last and c == 0 else c) for c in coins[:t]]
        rest = [r.sub(r.one, z) for z in zeta]
        square = [r.sub(r.mul(z, z), z) for z in zeta]

        def product(parts):
            out = r.one
            for p in parts:
                out = r.mul(out, p)
            return out
        corner = [product((zeta if k >> v & 1 else rest)[v] for v in range(t)) for k in range(2**t)]
        weight = [product((rest, zeta, square)[d][v] for v, d in enumerate(digits(p, t))) for p in range(3**t)]
        points = [sum((k >> v & 1) * 3**v for v in range(t)) for k in range(2**t)]
        for j in range(3):
            value = dict(zip(sent, values[j]))
            if level == 0:
                value.update(zip(points, self.known[j]))
            else:
                value[0] = r.sub(self.z[j], r.sum(value[p] for p in points[1:len(points) - last]))
            z = r.dot(weight, [value[p] for p in range(3**t)])
            for v in (self.f, self.g):
                blocks = [v[j][i:i + 2**t] for i in range(0, len(v[j]), 2**t)]
                if level == 0:
                    v[j] = [r.sum(r.scale(e[lane], w) for w, e in zip(corner, b)) for b in blocks for lane in range(D)]
                else:
                    v[j] = [r.dot(corner, b) for b in blocks]
            if level == 0:
                kappa = r.challenge(coins[-1])
                scaled = []
                for i, x in enumerate(self.f[j]):
                    w = self.weights[i // D]
                    for _ in range(i % D):
                        w = r.mul(w, r.challenge(2))
                    scaled.append(r.mul(x, w))
                self.f[j] = scaled
                for x, w, c in self.inner:
                    self.f[j] += [r.mul(kappa, v) for v in x[j]]
                    self.g[j] += w[j]
                    z = r.add(z, r.mul(kappa, c[j]))
            if level == 0 and j == 0:
                self.z = [None] * 3
            self.z[j] = z

    def left(self, j):
        return b"".join(self.ring.write(x) for x in (self.f[j][0], self.g[j][0], self.z[j])) if self.levels else b""


def conv_depth(g):
    return g["kernel"][0] * g["kernel"][1] * g["in_c"]


def inner(ring, claim, chi, alpha, beta):
    """A convolution as an inner product over (tap, input channel)."""
    g, r = claim["conv"], ring
    factor = r.scale(1 << r.k - claim["bits"], chi)
    gi, go, taps = g["in_c"] // g["groups"], g["out_c"] // g["groups"], g["kernel"][0] * g["kernel"][1]
    pixels = [(n, y, x) for n in range(g["batch"]) for y in range(g["out_h"]) for x in range(g["out_w"])]
    xs, ws, zs = [], [], []
    for j in range(3):
        x, w = [], []
        for tap in range(taps):
            for c in range(g["in_c"]):
                total = r.zero
                for p, (n, py, px) in enumerate(pixels):
                    y = py * g["stride"][0] + tap // g["kernel"][1] - g["pad"][0]
                    q = px * g["stride"][1] + tap % g["kernel"][1] - g["pad"][1]
                    if 0 <= y < g["in_h"] and 0 <= q < g["in_w"]:
                        at = ((n * g["in_h"] + y) * g["in_w"] + q) * g["in_c"] + c
                        total = r.add(total, r.scale(claim["x"][j][at], alpha[p]))
                x.append(r.mul(total, factor))
                total = r.zero
                for o in range(c // gi * go, (c // gi + 1) * go):
                    at = tap * g["out_c"] + o if g["depthwise"] else (o * taps + tap) * gi + c % gi
                    total = r.add(total, r.scale(claim["w"][j][at] % (1 << claim["bits"]), beta[o]))
                w.append(total)
        z = r.sum(r.scale(claim["c"][j][p * g["out_c"] + o], r.mul(alpha[p], beta[o]))
                  for p in range(len(pixels)) for o in range(g["out_c"]))
        xs.append(x)
        ws.append(w)
        zs.append(r.mul(z, factor))
    return xs, ws, zs


# ---- the exchanges -----------------------------------------------------------------------------------------------------

def run(case):
    seeds, session = [bytes.fromhex(s) for s in case["seeds"]], bytes.fromhex(case["session"])
    wire, step, begun, instruction, coins_so_far = [], 0, 0, case["instruction"], b""
    carried = [None] * 3

    def stream(key, what):
        return Stream(seeds[key], session, case["inference"], instruction, 16 + 4 * (step - begun) + what)

    def toss(count):
        nonlocal coins_so_far
        coin = bytes(8 * count)
        for key in range(3):
            for what, sender in ((0, (key + 1) % 3), (1, (key + 2) % 3)):
                half = stream(key, what).take(8 * count)
                wire.append([step, sender, key, half.hex()])
                coin = bytes(a ^ b for a, b in zip(coin, half))
        coins_so_far += coin
        return [int.from_bytes(coin[8 * i:8 * i + 8], "little") for i in range(count)]

    def compress_claims(claims, early):
        """First coins and levels."""
        nonlocal step

        def of(kind):
            return lambda c: kind == (0 if c["bits"] is None else 1 if c["bits"] <= 32 else 2)
        convs = [[c for c in claims if "conv" in c and of(k)(c)] for k in range(3)]
        kinds = [Kind(RINGS[k], [c for c in claims if "conv" not in c and of(k)(c)], convs[k], carried[k], early)
                 for k in range(3)]
        every = [c["conv"] for c in claims if "conv" in c]
        rows = max((g["batch"] * g["out_h"] * g["out_w"] for g in every), default=0)
        columns = max((g["out_c"] for g in every), default=0)
        joined = len(every) + any(carried)
        counts = [index_bits(n) for n in (rows, columns, joined)]
        deepest = max(len(k.levels) for k in kinds)
        coins = toss(max(1, sum(counts), *(index_bits(sum(k.groups)) for k in kinds)))
        step += 1
        a, b = counts[0], counts[0] + counts[1]
        at = 0
        for kind in kinds:
            r = kind.ring
            inners, chi = [], tensor(r, coins[b:b + counts[2]], joined)
            if kind.convs:
                alpha, beta = tensor(r, coins[:a], rows), tensor(r, coins[a:b], columns)
                inners = [inner(r, c, chi[at + i], alpha, beta) for i, c in enumerate(kind.convs)]
                at += len(kind.convs)
            kind.begin(coins, inners, chi[len(every)] if any(carried) else None)
        for level in range(deepest):
            there = [k for k in kinds if level < len(k.levels)]
            if any(k.levels[level][1] for k in there):
                masks = [stream(key, 3) for key in range(3)]
                pads = [stream(key, 2) for key in range(3)]
                for k in there:
                    k.mask(level, masks)
                messages, k_values = {p: b"" for p in range(3)}, {}
                for k in there:
                    sent, r = k.levels[level][1], k.ring
                    keyed = [[r.read(pads[key].take(r.size())) for _ in sent] for key in range(3)]
                    parts, summands = [None] * 3, [k.summands(level, p) for p in sent]
                    for party in range(3):
                        values = [r.sub(r.add(summands[i][party], keyed[(party + 2) % 3][i]), keyed[(party + 1) % 3][i])
                                  for i in range(len(sent))]
                        messages[party] += b"".join(r.write(v) for v in values)
                        parts[(party + 2) % 3] = values
                    k_values[id(k)] = parts
                for party in range(3):
                    wire.append([step, party, (party + 1) % 3, messages[party].hex()])
                step += 1
            else:
                k_values = {id(k): [[], [], []] for k in there}
            coins = toss(max(k.levels[level][0] for k in there) + (level == 0))
            for k in there:
                k.fold(level, coins, k_values[id(k)])
            step += 1
        return kinds

    *before, claims = case["chunks"]
    for chunk in before:
        kinds = compress_claims(chunk, True)
        carried = [(k.f, k.g, k.z) if k.levels else None for k in kinds]
        begun, instruction = step, instruction + 1
    kinds = compress_claims(claims, False)
    seen = blake3(b"qnnvm check coins 1" + coins_so_far)
    wire += [[step, p, (p + i) % 3, seen.hex()] for p in range(3) for i in (1, 2)]
    step += 1
    opened = b""
    for k in kinds:
        if k.levels:
            r = k.ring
            f, g, z = (r.sum(parts) for parts in ([v[0] for v in k.f], [v[0] for v in k.g], k.z))
            opened += r.write(f) + r.write(g) + r.write(z)
            assert r.mul(f, g) == z, "a claim is wrong"
    for p in range(3):
        for i in (1, 2):
            to = (p + i) % 3
            wire.append([step, p, to, b"".join(k.left(to) for k in kinds).hex()])
    step += 1
    seen = blake3(b"qnnvm check opened 1" + seen + opened)
    wire += [[step, p, (p + i) % 3, seen.hex()] for p in range(3) for i in (1, 2)]
    return sorted(wire)


if __name__ == "__main__":
    text = sys.stdin.read() if sys.argv[1] == "-" else open(sys.argv[1]).read()
    print(json.dumps(run(json.loads(text))))
