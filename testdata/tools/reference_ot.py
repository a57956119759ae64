#!/usr/bin/env python3
"""Oblivious transfer between two parties and what is made of it, message by message, in plain Python.

An independent description of docs/protocol-semi.md: it shares no code with the Rust runtime and uses nothing but Python's integers;
the group is written out below, AES and BLAKE3 in reference_rep3_dealer.py.

    reference_ot.py             self-check: the group's published encodings, and cases that must come out right
    reference_ot.py CASE.json   runs a case (-: from standard input) and prints messages and results as JSON

A case: session and seeds[2] (hex), k (of the field of 2^k elements); choices (bits of party 1, which receives from party 0); triples
(how many); weights (of party 0, rows of a matrix), bits (of a weight), ring (bits), a (the mask of party 1, one list per row of inputs), twice
if `inferences` is 2. Messages are [what, from, hex]; strings, triples and summands are what both sides hold at the end.

Bits of many transfers are one Python integer, bit i for transfer i.
"""
import json
import random
import sys

from reference_rep3_dealer import aes128, blake3_keyed

# ---- ristretto255 (RFC 9496) ------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def negative(x):
    return x % P & 1


def magnitude(x):
    return -x % P if negative(x) else x % P


def root_of_ratio(u, v):
    """Whether u/v is a square, and the root of it or of it times the root of −1."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * ROOT % P):
        r = r * ROOT % P
    return check in (u % P, -u % P), magnitude(r)


A_MINUS_D = root_of_ratio(1, -1 - D)[1]


def point(x, y):
    return x, y, 1, x * y % P


BASE_Y = 4 * pow(5, -1, P) % P
BASE = point(root_of_ratio(BASE_Y * BASE_Y - 1, D * BASE_Y * BASE_Y + 1)[1], BASE_Y)
NEUTRAL = (0, 1, 1, 0)


def plus(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * D * p[3] * q[3] % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def minus(p):
    return -p[0] % P, p[1], p[2], -p[3] % P


def times(n, p):
    total = NEUTRAL
    for bit in bin(n)[2:]:
        total = plus(total, total)
        if bit == "1":
            total = plus(total, p)
    return total


def encode(p):
    x, y, z, t = p
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, root = root_of_ratio(1, u1 * u2 * u2)
    d1, d2 = root * u1 % P, root * u2 % P
    z_inverse = d1 * d2 * t % P
    if negative(t * z_inverse):
        x, y, d2 = y * ROOT % P, x * ROOT % P, d1 * A_MINUS_D % P
    if negative(x * z_inverse):
        y = -y
    return magnitude(d2 * (z - y)).to_bytes(32, "little")


def decode(b):
    s = int.from_bytes(b, "little")
    assert s < P and not negative(s), "no encoding"
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, root = root_of_ratio(1, v * u2 * u2)
    x = magnitude(2 * s * root * u2)
    y = u1 * root * root * u2 * v % P
    assert square and y and not negative(x * y), "no encoding"
    return point(x, y)


# ---- keys -------------------------------------------------------------------------------------------------------------

class Own:
    """What a party draws for itself."""

    def __init__(self, seed, session):
        self.key = blake3_keyed(seed, b"qnnvm key stream 1\0" + session)

    def draw(self, what, peer, size):
        address = bytes(8) + peer.to_bytes(4, "little") + (0x100 + what).to_bytes(4, "little")
        return stream(blake3_keyed(self.key, address)[:16], 0, size)


BASE_SENDER, BASE_RECEIVER, OFFSET, ROOTS = range(4)


def stream(key, start, size):
    block = aes128(key)
    first = start // 16
    return b"".join(block((first + i).to_bytes(8, "little") + bytes(8)) for i in range(-(-size // 16)))[:size]


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


class Way:
    """One direction: who sends strings to whom."""

    def __init__(self, session, sender, receiver):
        self.id = session + bytes([sender, receiver])

    def key(self, use):
        return blake3_keyed(b"qnnvm oblivious transfer, key 1\0", use + self.id)


# ---- base transfers and trees -----------------------------------------------------------------------------------------

def base_key(way, a, b, index, shared):
    tag = blake3_keyed(way.key(b"base OT\0"), a)[:24]
    return blake3_keyed(encode(shared), tag + b + index.to_bytes(8, "little"))


def scalar(data):
    return int.from_bytes(data, "little") % ORDER


def children(key, tree, node):
    both = blake3_keyed(key, node + tree.to_bytes(4, "little"))
    return both[:16], both[16:]


class Direction:
    """The extension in which `sender` has strings and `receiver` bits."""

    def __init__(self, case, own, sender, receiver, say):
        k, session = case["k"], bytes.fromhex(case["session"])
        self.k, self.trees, self.say = k, 128 // k, say
        self.sender, self.receiver, self.next = sender, receiver, 0
        way, base = Way(session, sender, receiver), Way(session, receiver, sender)
        # Base transfers the other way round: the receiver of the extension has both keys.
        secret = scalar(own[receiver].draw(BASE_SENDER, sender, 64))
        a = encode(times(secret, BASE))
        say("element", receiver, a)
        self.offset = int.from_bytes(own[sender].draw(OFFSET, receiver, 16), "little")
        drawn = own[sender].draw(BASE_RECEIVER, receiver, 128 * 64)
        points, keys, choices = b"", [], []
        for i in range(128):
            # Level i % k of tree i // k, from the top bit; the side that the offset does not take.
            bit = 1 - (self.offset >> (i // k * k + k - 1 - i % k) & 1)
            b = scalar(drawn[64 * i:64 * i + 64])
            element = times(b, BASE)
            if bit:
                element = plus(element, decode(a))
            element = encode(element)
            points += element
            keys.append(base_key(base, a, element, i, times(b, decode(a))))
            choices.append(bit)
        say("choices", sender, points)
        pairs = []
        for i in range(128):
            element = points[32 * i:32 * i + 32]
            shared = times(secret, decode(element))
            other = plus(shared, minus(times(secret, decode(a))))
            pairs.append([base_key(base, a, element, i, s) for s in (shared, other)])
        # Trees.
        roots = own[receiver].draw(ROOTS, sender, 16 * self.trees)
        key = way.key(b"GGM tree")
        self.leaves, self.known, sums = [], [], b""
        for tree in range(self.trees):
            level, known = [roots[16 * tree:16 * tree + 16]], [None]
            for depth in range(k):
                i = tree * k + depth
                level = [c for node in level for c in children(key, tree, node)]
                total = [bytes(16), bytes(16)]
                for x, node in enumerate(level):
                    total[x & 1] = xor(total[x & 1], node)
                masked = [xor(total[side], pairs[i][side][:16]) for side in (0, 1)]
                sums += masked[0] + masked[1]
                # The sender: all nodes but the one on its path, and what the sum of the other side gives.
                known = [c for node in known for c in (children(key, tree, node) if node else (None, None))]
                side = choices[i]
                learnt = xor(masked[side], keys[i][:16])
                for x, node in enumerate(known):
                    if x & 1 == side and node:
                        learnt = xor(learnt, node)
                path = self.offset >> (tree * k + k - 1 - depth) & ((1 << (depth + 1)) - 1)
                known[path ^ 1] = learnt
            assert [x for x, node in enumerate(known) if node is None] == [self.place(tree)]
            assert all(node in (None, level[x]) for x, node in enumerate(known))
            self.leaves.append(level)
            self.known.append(known)
        say("sums", receiver, sums)
        self.pi = aes128(way.key(b"OT hash\0")[:16])

    def place(self, tree):
        return self.offset >> (tree * self.k) & ((1 << self.k) - 1)

    def bits(self, seed, count):
        size = -(-count // 8)
        return int.from_bytes(stream(seed, self.next // 8, size), "little") % (1 << 8 * size)

    def extend(self, choices, count):
        """Rows of both sides and the choices; None draws them."""
        size, message, received, sent = -(-count // 8), b"", [], []
        given = choices
        for tree in range(self.trees):
            leaves = [self.bits(seed, count) for seed in self.leaves[tree]]
            known = [seed and self.bits(seed, count) for seed in self.known[tree]]
            delta = self.place(tree)
            u, v, w = 0, [0] * self.k, [0] * self.k
            for x in range(1 << self.k):
                u ^= leaves[x]
                for b in range(self.k):
                    v[b] ^= leaves[x] * (x >> b & 1)
                    if x != delta:
                        w[b] ^= known[x] * ((x ^ delta) >> b & 1)
            if choices is None:
                choices = u
            else:
                d = u ^ choices
                if given is not None or tree:
                    message += (d % (1 << 8 * size)).to_bytes(size, "little")
                w = [w[b] ^ d * (delta >> b & 1) for b in range(self.k)]
            received += v
            sent += w
        self.say("transfers", self.receiver, message)
        first, self.next = self.next, self.next + -(-count // 128) * 128
        row = lambda planes, i: sum((p >> i & 1) << b for b, p in enumerate(planes))
        return first, choices, [row(received, i) for i in range(count)], [row(sent, i) for i in range(count)]

    def string(self, row, index, block):
        """One block of a string."""
        x = self.pi(row.to_bytes(16, "little"))
        tweak = block.to_bytes(8, "little") + index.to_bytes(8, "little")
        return int.from_bytes(xor(self.pi(xor(x, tweak)), x), "little")

    def vector(self, row, index, start, length, step):
        """Numbers of `step` bits from block `start` on."""
        per = 128 // step
        blocks = [self.string(row, index, start + i) for i in range(-(-length // per))]
        return [blocks[i // per] >> (i % per * step) & ((1 << step) - 1) for i in range(length)]


# ---- what is made of it -----------------------------------------------------------------------------------------------

def run(case):
    session = bytes.fromhex(case["session"])
    own = [Own(bytes.fromhex(seed), session) for seed in case["seeds"]]
    messages = []
    say = lambda what, party, data: messages.append([what, party, data.hex()])
    towards = [Direction(case, own, 1 - p, p, say) for p in (0, 1)]  # towards[p]: party p receives
    result = {}

    # Strings, received by party 1.
    d, bits = towards[1], case["choices"]
    first, _, received, sent = d.extend(sum(b << i for i, b in enumerate(bits)), len(bits))
    strings = []
    for i, bit in enumerate(bits):
        chosen = d.string(received[i], first + i, 0)
        both = [d.string(sent[i] ^ side * d.offset, first + i, 0) for side in (0, 1)]
        assert chosen == both[bit] and chosen != both[1 - bit]
        strings.append([f"{x:032x}" for x in (chosen, *both)])
    result["strings"] = strings

    # Bit triples: each party draws its a, and b is the difference of its strings.
    count = case["triples"]
    a, b, c = [0, 0], [0, 0], [0, 0]
    for p in (0, 1):
        d = towards[p]
        first, choices, received, sent = d.extend(None, count)
        for i in range(count):
            bit = choices >> i & 1
            m, one = (d.string(sent[i] ^ side * d.offset, first + i, 0) & 1 for side in (0, 1))
            a[p] |= bit << i
            b[1 - p] |= (m ^ one) << i
            c[p] ^= (d.string(received[i], first + i, 0) & 1) << i
            c[1 - p] ^= m << i
    for p in (0, 1):
        c[p] ^= a[p] & b[p]
    assert (a[0] ^ a[1]) & (b[0] ^ b[1]) == c[0] ^ c[1]
    result["triples"] = [[f"{x:x}" for x in (a[p], b[p], c[p])] for p in (0, 1)]

    # Products: party 0 owns weights, party 1 has masks; a product of each weight with each row of inputs.
    weights, wide, ring = case["weights"], case["bits"], case["ring"]
    d, step = towards[0], 32 if ring <= 32 else 64
    inputs = len(weights[0])
    flat = [(o, j, i) for o in range(len(weights)) for j in range(wide) for i in range(inputs)]
    choice = sum((weights[o][i] >> j & 1) << at for at, (o, j, i) in enumerate(flat))
    first, _, received, sent = d.extend(choice, len(flat))
    result["summands"] = []
    used = 0
    for masks in case["a"]:
        rows = len(masks)
        totals = [[[0] * len(weights) for _ in range(rows)] for _ in (0, 1)]
        message = b""
        for start in range(0, len(flat), inputs):
            o, j, _ = flat[start]
            packed, place = [], -(1 << j) if j + 1 == wide else 1 << j
            for i in range(inputs):
                at = start + i
                zero, one = (d.vector(sent[at] ^ side * d.offset, first + at, used, rows, step) for side in (0, 1))
                mine = d.vector(received[at], first + at, used, rows, step)
                for r in range(rows):
                    masked = (zero[r] - one[r] + masks[r][i]) % (1 << (ring - j))
                    packed.append(masked)
                    totals[1][r][o] -= place * zero[r]
                    totals[0][r][o] += place * (mine[r] + masked * (choice >> at & 1))
            bits = sum(x << (i * (ring - j)) for i, x in enumerate(packed))
            message += bits.to_bytes(-(-len(packed) * (ring - j) // 8), "little")
        say("products", 1, message)
        used += -(-rows // (128 // step))
        for r in range(rows):
            for o, row in enumerate(weights):
                want = sum(w * x for w, x in zip(row, masks[r]))
                assert (totals[0][r][o] + totals[1][r][o] - want) % (1 << ring) == 0
        result["summands"].append([[[x % (1 << ring) for x in row] for row in party] for party in totals])
    result["messages"] = messages
    return result


def self_check():
    # RFC 9496, appendix A.1: multiples of the generator.
    known = ["00" * 32, "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
             "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"]
    for n, want in enumerate(known):
        assert encode(times(n, BASE)).hex() == want, n
        assert encode(decode(bytes.fromhex(want))).hex() == want if n else True
    rng = random.Random(1)
    for k in (1, 2, 4):
        case = {"session": "07" * 16, "seeds": ["01" * 32, "02" * 32], "k": k, "choices": [rng.randrange(2) for _ in range(20)],
                "triples": 10, "weights": [[3, -4, 0], [-1, 2, 1]], "bits": 3, "ring": 9, "a": [[[5, 511, 77]]]}
        run(case)
    print("ok")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        self_check()
    else:
        source = sys.stdin if sys.argv[1] == "-" else open(sys.argv[1])
        print(json.dumps(run(json.load(source))))
