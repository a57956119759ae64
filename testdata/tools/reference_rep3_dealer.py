#!/usr/bin/env python3
"""The dealer-route requantization of `rep3`, message by message, in plain Python.

An independent description: it shares no code with the Rust runtime and uses nothing but Python's integers; AES and BLAKE3, from
which pads come, are written out below. docs/protocol-rep3.md has the argument; this file has every byte of one small tile:
the owner shares accumulators, they are requantized, the result is opened.

    reference_rep3_dealer.py             self-check: known bytes of the ciphers, random cases against the formula
    reference_rep3_dealer.py CASE.json   runs a case (-: from standard input) and prints each message as JSON: [round, from, to, hex]

A case: n, k (rings before and after), width, h, rot, owner, receiver; per element acc, m (M'), s, b_p, b_n (null: one piece), split,
lo, hi; chunk (null: chunks of four, joined in groups; else their size, joined at once: one exchange less);
seeds[j] and session (hex), key j being the one that party j lacks; inference. Pads are addressed by instruction:
`split_at` is the one that splits, `exchanges[r]` are those that talk in round r+1, in order. Masks are addressed by their number.
Round 1 shares the accumulators, exchange e of the route is round e+1, the last round opens.

Bits of many elements are one Python integer, bit i for element i ("plane"). Roles are A, B, C = parties rot, rot+1, rot+2.
"""
import json
import random
import sys

CHUNK, GROUP = 4, 5


# ---- pads: AES-128 in counter mode under keys made by BLAKE3 ----------------------------------------------------------

def _sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1) ^ (0x11B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 255
        q ^= 9 if q & 0x80 else 0
        rotated = q
        for i in range(1, 5):
            rotated ^= (q << i | q >> (8 - i)) & 255
        box[p] = rotated ^ 0x63
        if p == 1:
            box[0] = 0x63
            return box


SBOX = _sbox()


def aes128(key):
    """The block function under `key`."""
    words = [list(key[i:i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = list(words[-1])
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = (rcon << 1) ^ (0x11B if rcon & 0x80 else 0)
        words.append([a ^ b for a, b in zip(words[i - 4], word)])
    rounds = [sum(words[i:i + 4], []) for i in range(0, 44, 4)]

    def double(b):
        return (b << 1) ^ (0x11B if b & 0x80 else 0)

    def block(data):
        state = [a ^ b for a, b in zip(data, rounds[0])]
        for r in range(1, 11):
            state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
            if r < 10:
                mixed = []
                for c in range(0, 16, 4):
                    a = state[c:c + 4]
                    mixed += [double(a[i]) ^ double(a[(i + 1) % 4]) ^ a[(i + 1) % 4] ^ a[(i + 2) % 4] ^ a[(i + 3) % 4]
                              for i in range(4)]
                state = mixed
            state = [a ^ b for a, b in zip(state, rounds[r])]
        return bytes(state)

    return block


IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]


def blake3_keyed(key, data):
    """BLAKE3 of at most 64 bytes under a key of 32: one block that is first, last and root."""
    assert len(data) <= 64 and len(key) == 32

    def numbers(b):
        return [int.from_bytes(b[i:i + 4], "little") for i in range(0, len(b), 4)]

    chain, block = numbers(key), numbers(data.ljust(64, b"\0"))
    v = chain + IV[:4] + [0, 0, len(data), 1 | 2 | 8 | 16]

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
    return b"".join((v[i] ^ v[i + 8]).to_bytes(4, "little") for i in range(8))


class Pads:
    """The three key streams of a session. A segment pads one message."""

    def __init__(self, seeds, session, inference):
        self.keys = [blake3_keyed(seed, b"qnnvm key stream 1\0" + session) for seed in seeds]
        self.inference, self.hiding = inference, set()

    def segment(self, party, key, instruction, purpose, size):
        assert party != key, f"party {party} does not know key {key}"
        address = self.inference.to_bytes(8, "little") + instruction.to_bytes(4, "little") + purpose.to_bytes(4, "little")
        block = aes128(blake3_keyed(self.keys[key], address)[:16])
        return b"".join(block(i.to_bytes(8, "little") + bytes(8)) for i in range(-(-size // 16)))[:size]

    def ring(self, party, key, instruction, width, count):
        step = 4 if width <= 32 else 8
        data = self.segment(party, key, instruction, 0, step * count)
        return [int.from_bytes(data[step * i:step * i + step], "little") % (1 << width) for i in range(count)]

    def planes(self, party, key, instruction, purpose, planes, count):
        step = -(-count // 64) * 8
        data = self.segment(party, key, instruction, purpose, step * planes)
        return [int.from_bytes(data[step * i:step * i + step], "little") % (1 << count) for i in range(planes)]


# ---- three parties --------------------------------------------------------------------------------------------------

class World:
    """What the three send. Values at B and C are pairs (B's, C's); `lead` is the one of the two that adds public terms."""

    def __init__(self, case):
        self.case, self.count = case, len(case["acc"])
        self.pads = Pads([bytes.fromhex(s) for s in case["seeds"]], bytes.fromhex(case["session"]), case["inference"])
        self.a, self.b, self.c = (case["rot"] % 3, (case["rot"] + 1) % 3, (case["rot"] + 2) % 3)
        self.lead = 0 if self.b < self.c else 1
        self.flat = case.get("chunk") is not None
        self.chunk = case["chunk"] if self.flat else CHUNK
        self.left = [list(e) for e in case["exchanges"]] if "exchanges" in case else None
        self.drawn = 1000
        self.sent, self.tags = {}, 0

    def at(self, r):
        """The next instruction that talks in round r."""
        if self.left:
            return self.left[r - 1].pop(0)
        self.drawn += 1
        return self.drawn

    def put(self, r, sender, to, data):
        self.sent.setdefault((r, sender, to), bytearray()).extend(data)

    def put_ring(self, r, sender, to, width, values):
        word = sum(x % (1 << width) << (width * i) for i, x in enumerate(values))
        self.put(r, sender, to, word.to_bytes(-(-width * len(values) // 8), "little"))

    def put_planes(self, r, sender, to, planes):
        for p in planes:
            self.put(r, sender, to, p.to_bytes(-(-self.count // 8), "little"))

    def ones(self):
        return (1 << self.count) - 1

    def lead_only(self, x):
        return (x, 0) if self.lead == 0 else (0, x)

    def deal_planes(self, r, planes):
        """A knows planes. C's summand is a pad; A sends the rest to B, who lacks it."""
        i = self.at(r)
        pad = self.pads.planes(self.a, self.b, i, 0, len(planes), self.count)
        rest = [x ^ p for x, p in zip(planes, pad)]
        self.put_planes(r, self.a, self.b, rest)
        return list(zip(rest, self.pads.planes(self.c, self.b, i, 0, len(planes), self.count)))

    def deal_ring(self, r, width, values):
        i = self.at(r)
        pad = self.pads.ring(self.a, self.b, i, width, self.count)
        rest = [(x - p) % (1 << width) for x, p in zip(values, pad)]
        self.put_ring(r, self.a, self.b, width, rest)
        return rest, self.pads.ring(self.c, self.b, i, width, self.count)

    def open_masked(self, r, pairs):
        """B and C see x xor β, A knows β = β_AB xor β_AC. Returns t and β."""
        self.at(r)
        tag, self.tags = self.tags, self.tags + 1
        beta_ab = self.pads.planes(self.b, self.c, tag, 1, len(pairs), self.count)
        beta_ac = self.pads.planes(self.c, self.b, tag, 1, len(pairs), self.count)
        of_b = [x ^ m for (x, _), m in zip(pairs, beta_ab)]
        of_c = [x ^ m for (_, x), m in zip(pairs, beta_ac)]
        self.put_planes(r, self.b, self.c, of_b)
        self.put_planes(r, self.c, self.b, of_c)
        return [x ^ y for x, y in zip(of_b, of_c)], [x ^ y for x, y in zip(beta_ab, beta_ac)]


# ---- polynomials in bits: sets of products, a product being a set of variables ----------------------------------------

ZERO, ONE = frozenset(), frozenset([frozenset()])


def times(p, q):
    out = set()
    for x in p:
        for y in q:
            out ^= {x | y}
    return frozenset(out)


def chain(lt, eq):
    """[less], [equal] of a number of chunks, from the least significant."""
    less, equal = ZERO, ONE
    for l, e in zip(lt, eq):
        less, equal = l ^ times(e, less), times(equal, e)
    return less, equal


def parts(terms):
    """Every set of two or more bits within one of the sets, in ascending order."""
    found = set()
    for term in terms:
        part = term
        while part:
            found.add(part)
            part = (part - 1) & term
    return sorted(p for p in found if p.bit_count() > 1)


def portions(lists):
    """What is dealt together, as (list, set): at most 256 with at most 255 parts, whole lists where that is possible."""
    def fits(terms):
        return len(terms) <= 256 and len(parts([t for _, t in terms])) <= 255

    out = []
    for which, terms in enumerate(lists):
        left = [(which, t) for t in terms]
        while left:
            if out and fits(out[-1] + left):
                out[-1] = out[-1] + left
                break
            count = len(left)
            while not fits(left[:count]):
                count = count * 3 // 4
            out.append(left[:count])
            left = left[count:]
    return out


class Variables:
    """Bits as summands of B and C, by number."""

    def __init__(self, world):
        self.world, self.pairs = world, []

    def new(self, pair):
        self.pairs.append(pair)
        return frozenset([frozenset([len(self.pairs) - 1])])

    def joined(self, p):
        """A sum of variables as one variable."""
        if len(p) < 2 or any(len(t) != 1 for t in p):
            return p
        b = c = 0
        for (i,) in p:
            b, c = b ^ self.pairs[i][0], c ^ self.pairs[i][1]
        return self.new((b, c))

    def evaluate(self, r, polys):
        """Summands of each polynomial. Variables that stand in products are opened masked; A deals products of masks."""
        world = self.world
        terms = [[t for t in p if len(t) > 1] for p in polys]
        opened = sorted(set().union(*[t for ts in terms for t in ts], set()))
        dealt, t = {}, []
        if opened:
            t, beta = world.open_masked(r, [self.pairs[i] for i in opened])
            number = {v: i for i, v in enumerate(opened)}
            sets = [sorted(sum(1 << number[v] for v in t) for t in ts) for ts in terms]
            for portion in portions(sets):
                subsets, products = parts([t for _, t in portion]), []
                for s in subsets:
                    x = world.ones()
                    for i in range(len(opened)):
                        x &= beta[i] if s >> i & 1 else world.ones()
                    products.append(x)
                shares = dict(zip(subsets, world.deal_planes(r, products)))
                dealt.update((one, shares) for one in portion)
        results = []
        for which, p in enumerate(polys):
            b = c = 0
            for term in p:
                if len(term) == 1:
                    (v,) = term
                    b, c = b ^ self.pairs[v][0], c ^ self.pairs[v][1]
                    continue
                # Π (t_i xor β_i): over every part of the term, its β times the t of the rest.
                bits = [number[v] for v in term]
                own_shares = dealt[which, sum(1 << i for i in bits)]
                for pick in range(1 << len(bits)):
                    known, part = world.ones(), 0
                    for j, i in enumerate(bits):
                        if pick >> j & 1:
                            part |= 1 << i
                        else:
                            known &= t[i]
                    if part == 0:
                        share = world.lead_only(world.ones())
                    elif part.bit_count() == 1:
                        i = part.bit_length() - 1
                        own, extra = self.pairs[opened[i]], world.lead_only(t[i])
                        share = (own[0] ^ extra[0], own[1] ^ extra[1])
                    else:
                        share = own_shares[part]
                    b, c = b ^ known & share[0], c ^ known & share[1]
            results.append((b, c))
        return results


# ---- leaves ---------------------------------------------------------------------------------------------------------

def chunks(width, size):
    return [range(i, min(i + size, width)) for i in range(0, width, size)]


def plane(values, i):
    return sum((x >> i & 1) << e for e, x in enumerate(values))


def entries(values, width, size):
    """Per chunk, the planes [chunk = j] for j from 1."""
    out = []
    for c in chunks(width, size):
        digits = [x >> c[0] & ((1 << len(c)) - 1) for x in values]
        out.append([sum((d == j) << e for e, d in enumerate(digits)) for j in range(1, 1 << len(c))])
    return out


def deal_hot(world, wrapped, full, width, agree):
    """One-hot vectors of both versions; they agree below bit `agree`."""
    size = world.chunk
    # In groups, a number of one chunk opens no leaves, so nothing waits for it before the next exchange.
    r = 2 if world.flat or width > size else 3

    def deal(values, width):
        """As many chunks at a time as have 255 entries."""
        all_entries, together, out = entries(values, width, size), 255 // ((1 << size) - 1), []
        for i in range(0, len(all_entries), together):
            out += world.deal_planes(r, sum(all_entries[i:i + together], []))
        return out

    base = deal(wrapped, width)
    other, start = None, 0
    if agree < width:
        start = agree // size
        other = deal([x >> start * size for x in full], width - start * size)
    return base, other, start


def leaves(world, hot, width, v, msb):
    """Summands of [v < u] and [v = u] of each chunk."""
    base, other, start = hot
    lt, eq = [], []
    at, at_other = 0, 0
    for k, c in enumerate(chunks(width, world.chunk)):
        size = (1 << len(c)) - 1
        vector, at = base[at:at + size], at + size
        if other is not None and k >= start:
            theirs, at_other = other[at_other:at_other + size], at_other + size
            no = world.ones() ^ msb
            vector = [(x[0] & no ^ y[0] & msb, x[1] & no ^ y[1] & msb) for x, y in zip(vector, theirs)]
        digits = [x >> c[0] & size for x in v]
        less, same = [0, 0], list(world.lead_only(sum((d == 0) << e for e, d in enumerate(digits))))
        for j, entry in enumerate(vector, 1):
            above = sum((j > d) << e for e, d in enumerate(digits))
            here = sum((d == j or d == 0) << e for e, d in enumerate(digits))
            for p in (0, 1):
                less[p] ^= entry[p] & above
                same[p] ^= entry[p] & here
        lt.append(tuple(less))
        eq.append(tuple(same))
    return lt, eq


def grouped(world, lt, eq, least, lowest_eq):
    """[less] and [equal] of groups of chunks; of each chunk where there are no groups."""
    if world.flat:
        return list(zip(lt, eq))
    n = len(lt)
    count = min(max(least, -(-n // GROUP)), n)
    bounds = [-(-i * n // count) for i in range(count + 1)]
    out = []
    for i in range(count):
        variables = Variables(world)
        own = range(bounds[i], bounds[i + 1])
        l = [variables.new(lt[k]) for k in own]
        e = [variables.new(eq[k]) for k in own]
        less, equal = chain(l, e)
        wanted = [less, equal] if i > 0 or lowest_eq else [less]
        found = variables.evaluate(3, wanted)
        out.append((found[0], found[1] if len(found) > 1 else None))
    return out


# ---- the tile -------------------------------------------------------------------------------------------------------

def run(case):
    """Returns the opened values and the messages."""
    world = World(case)
    n, k, width, h, count = case["n"], case["k"], case["width"], case["h"], len(case["acc"])
    pads, ring_n, ring_k = world.pads, 1 << case["n"], 1 << case["k"]
    m, s, split, lo, hi = (case[x] for x in ("m", "s", "split", "lo", "hi"))
    a, b, c = world.a, world.b, world.c

    # Round 1: the owner shares. It and the next party take a pad, it sends the rest to the one after, whose second part is 0.
    owner, i = case["owner"], world.at(1)
    after = (owner + 2) % 3
    pad = pads.ring(owner, after, i, n, count)
    rest = [(x - p) % ring_n for x, p in zip(case["acc"], pad)]
    world.put_ring(1, owner, after, n, rest)
    # Parts by the party that lacks them. Party p's summand is part p+1; party 0 adds the offset.
    x = {after: pad, (owner + 1) % 3: rest, owner: [0] * count}
    assert pads.ring((owner + 1) % 3, after, i, n, count) == pad
    z = [x[(p + 1) % 3] for p in range(3)]
    z[0] = [(e + (1 << (n - 2))) % ring_n for e in z[0]]

    # Exchange 1: B and C swap masked summands; A deals one-hot vectors of both versions of M'·u.
    r_ab = pads.ring(a, c, case["split_at"], n, count)
    r_ac = pads.ring(a, b, case["split_at"], n, count)
    u = [(p + q - e) % ring_n for p, q, e in zip(r_ab, r_ac, z[a])]
    world.at(2)
    of_b = [(p + e) % ring_n for p, e in zip(pads.ring(b, c, case["split_at"], n, count), z[b])]
    of_c = [(p + e) % ring_n for p, e in zip(pads.ring(c, b, case["split_at"], n, count), z[c])]
    world.put_ring(2, b, c, n, of_b)
    world.put_ring(2, c, b, n, of_c)
    v = [(p + q) % ring_n for p, q in zip(of_b, of_c)]

    signed = [x - (x >> (n - 1) << n) for x in u]
    full = [p * x for p, x in zip(m, u)]
    wrapped = [p * x for p, x in zip(m, signed)]

    def low(values):
        return [x % (1 << q) << (width - q) for x, q in zip(values, s)]

    def floors(values):
        return [x >> q for x, q in zip(values, s)]

    agree = max(n - width, 0)
    hot_low = deal_hot(world, low(wrapped), low(full), width, n)
    mask = (1 << (h - 1)) - 1
    hot_high = deal_hot(world, [x & mask for x in floors(wrapped)], [x & mask for x in floors(full)], h - 1, agree)
    msb = plane(v, n - 1)
    # In groups, exchange 2 brings the top bits, which are needed after it.
    flat = world.flat
    top_u = world.deal_planes(2 if flat else 3, [plane(floors(wrapped), h - 1)])[0]
    if agree < h:
        other = world.deal_planes(2 if flat else 3, [plane(floors(full), h - 1)])[0]
        no = world.ones() ^ msb
        top_u = tuple(x & no ^ y & msb for x, y in zip(top_u, other))

    # Exchange 2 (leaves, in groups) and exchange 3 (the rest of the tree).
    scaled = [p * (x - (1 << (n - 2))) for p, x in zip(m, v)]
    two = case["b_n"] is not None
    pieces = [(case["b_p"], [[x + 1 for x in split], [x + 1 for x in hi]])]
    if two:
        pieces.append((case["b_n"], [lo, split]))
    variables = Variables(world)
    oks, outs, g, floor_v = [], [], ZERO, []
    for number, (offset, bounds) in enumerate(pieces):
        x = [e + o for e, o in zip(scaled, offset)]
        parts = grouped(world, *leaves(world, hot_low, width, low(x), msb), 2, False)
        lt = [variables.new(p[0]) for p in parts]
        eq = [variables.new(p[1]) if p[1] else ZERO for p in parts]
        borrow, _ = chain(lt, eq)
        floor = floors(x)
        floor_v.append(floor)
        ends = []
        for bound in bounds:
            rest = [e - t for e, t in zip(floor, bound)]
            parts = grouped(world, *leaves(world, hot_high, h - 1, [e & mask for e in rest], msb), 1, True)
            top_v = world.lead_only(plane(rest, h - 1))
            less = [variables.new(l) for l, _ in parts]
            less, equal = chain(less, [variables.new(e) for _, e in parts])
            top = variables.new((top_u[0] ^ top_v[0], top_u[1] ^ top_v[1]))
            ends.append((variables.joined(less ^ top), equal))
        x = variables.joined(ends[0][0] ^ ends[1][0])
        e = variables.joined(ends[0][1] ^ ends[1][1])
        both = variables.joined(x ^ e)
        oks.append(x ^ times(e, borrow))
        outs.append(ends[1 - number][0] ^ times(ends[1 - number][1], borrow))
        g ^= times(both, borrow)
    results = variables.evaluate(3 if flat else 4, oks + outs + [g])
    last = 4 if flat else 5

    # Exchange 4: the results, masked; their masks in the ring; the upper parts, whole and where the mask of ok is set.
    t, beta = world.open_masked(last, results)

    def bit(values, e):
        return values >> e & 1

    def revealed(i):
        """t xor β in the ring."""
        dealt = world.deal_ring(last, k, [bit(beta[i], e) for e in range(count)])
        one = world.lead_only(1)
        return [[(one[p] - x if bit(t[i], e) else x) % ring_k for e, x in enumerate(dealt[p])] for p in (0, 1)]

    number = len(oks)
    ok = [revealed(i) for i in range(number)]
    end = [revealed(number + i) for i in range(number)]
    borrowed = revealed(2 * number)
    t_ok, beta_ok = t[0], beta[0]
    if two:
        t_ok, beta_ok = t_ok ^ t[1], beta_ok ^ beta[1]

    def both_parts(values):
        whole = world.deal_ring(last, k, values)
        return whole, world.deal_ring(last, k, [x * bit(beta_ok, e) for e, x in enumerate(values)])

    whole, kept = both_parts(floors(wrapped))
    if agree < k:
        whole_full, kept_full = both_parts(floors(full))
        whole = [[y if bit(msb, e) else x for e, (x, y) in enumerate(zip(*p))] for p in zip(whole, whole_full)]
        kept = [[y if bit(msb, e) else x for e, (x, y) in enumerate(zip(*p))] for p in zip(kept, kept_full)]

    # Exchange 5: y - split, reshared by B and C.
    y = []
    for p in (0, 1):
        total = []
        for e in range(count):
            lost = whole[p][e] - kept[p][e] if bit(t_ok, e) else kept[p][e]
            value = -lost - borrowed[p][e]
            for q in range(number):
                value += ok[q][p][e] * (floor_v[q][e] - split[e])
            reach = hi[e] - split[e]
            value += reach * ((p == world.lead) - end[0][p][e])
            if two:
                value += end[1][p][e] * (lo[e] - split[e])
            total.append(value % ring_k)
        y.append(total)
    i = world.at(last + 1)
    s_ab, s_ac = pads.ring(a, c, i, k, count), pads.ring(a, b, i, k, count)
    of_b = [(x - p) % ring_k for x, p in zip(y[0], s_ab)]
    of_c = [(x - p) % ring_k for x, p in zip(y[1], s_ac)]
    world.put_ring(last + 1, b, c, k, of_b)
    world.put_ring(last + 1, c, b, k, of_c)
    parts = {c: s_ab, b: s_ac, a: [(x + q) % ring_k for x, q in zip(of_b, of_c)]}
    parts[0] = [(x + p) % ring_k for x, p in zip(parts[0], split)]

    # Last round: the next party sends the receiver the part that it lacks.
    to = case["receiver"]
    world.at(last + 2)
    world.put_ring(last + 2, (to + 1) % 3, to, k, parts[to])
    assert not world.left or not any(world.left), "instructions are left over"
    opened = [sum(x) % ring_k for x in zip(*parts.values())]
    opened = [x - ring_k if x >> (k - 1) else x for x in opened]
    return opened, [[r, f, to, bytes(data).hex()] for (r, f, to), data in sorted(world.sent.items())]


def wanted(case, e):
    """The formula the outputs are held against."""
    m, s, acc = case["m"][e], case["s"][e], case["acc"][e]
    split, lo, hi = case["split"][e], case["lo"][e], case["hi"][e]
    p = (m * acc + case["b_p"][e]) >> s
    if case["b_n"] is None:
        return min(max(p, lo), hi)
    if p > split:
        return min(p, hi)
    return min(max((m * acc + case["b_n"][e]) >> s, lo), split)


def draw(rng, n, width, two):
    """A random case; the number of instructions that talk is more than any case needs."""
    count = 16
    s = [rng.randint(max(1, width - 6), width) for _ in range(count)]
    s[0] = width
    split = [rng.randint(-100, 100) if two else -128 for _ in range(count)]
    # Slopes that use the clamp on both sides, below 2^31 and small enough for signed 64-bit words.
    most = 1 << (n - 3)
    m = [max(1, min(rng.randint(1, 300 << q) // most, (1 << 31) - 1, (1 << (62 - n)) - 1)) for q in s]
    b_p = [rng.randint(0, (1 << q) - 1) + (1 << q) * (rng.randint(-50, 50) if two else 0) for q in s]
    b_n = [b + rng.randint(0, 1 << (q - 1)) for b, q in zip(b_p, s)] if two else None
    acc = [rng.choice([rng.randint(-most, most), rng.randint(-8, 8)]) for _ in range(count)]
    bounds = [abs((p * most) >> q) + 400 for p, q in zip(m, s)]
    h = max(bounds).bit_length() + 1
    return {"n": n, "k": rng.choice([10, 24, 32]), "width": width, "h": h, "rot": rng.randrange(3), "owner": 1,
            "receiver": 1, "acc": acc, "m": m, "s": s, "b_p": b_p, "b_n": b_n, "split": split, "lo": [-128] * count,
            "hi": [127] * count, "seeds": [rng.randbytes(32).hex() for _ in range(3)], "session": rng.randbytes(16).hex(),
            "inference": 1, "split_at": 1}


def self_check(seed):
    assert aes128(bytes(range(16)))(bytes(i * 17 for i in range(16))).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    # The bytes that another implementation of both ciphers gives for this address.
    segment = Pads([bytes(range(32))] * 3, b"session", 1).segment(0, 1, 2, 3, 32)
    assert segment.hex() == "02bfa2ab3f9278cf275d956b87b0ed7a4939d7ee2f55a184682c0bcc223728e4"
    rng, elements = random.Random(seed), 0
    for n, width in [(16, 3), (16, 12), (16, 16), (16, 21), (20, 14), (25, 30), (32, 20), (32, 28), (32, 33), (27, 27)]:
        for two in (False, True):
            for chunk in (None, 5, 8):
                if chunk and width > 4 * chunk:
                    continue
                case = draw(rng, n, width, two) | {"chunk": chunk}
                opened, _ = run(case)
                assert opened == [wanted(case, e) for e in range(len(opened))], case
                elements += len(opened)
    print(f"{elements} elements right, one and two pieces, seed {seed}")


def main():
    if len(sys.argv) > 1:
        with open(0 if sys.argv[1] == "-" else sys.argv[1]) as file:
            print(json.dumps(run(json.load(file))[1]))
    else:
        self_check(1)


if __name__ == "__main__":
    main()
