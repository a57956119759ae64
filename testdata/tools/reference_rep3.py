#!/usr/bin/env python3
"""The Boolean-route requantization of `rep3`, message by message, in plain Python.

An independent description: it shares no code with the Rust runtime and uses nothing but Python's integers.
docs/protocol-rep3.md has the argument; this file has every message of one small tile.

    reference_rep3.py                    self-check: random cases, opened outputs against the formula
    reference_rep3.py --make-case SEED   prints a case as JSON, every pad in it
    reference_rep3.py CASE.json          runs a case with the pads given there and prints each message

A case: n, s, a, m (M'), b_p, b_n (null: one piece), zp, lo, hi, z and pads.
    z[P]          summand of role P, one per element: z[A] + z[B] + z[C] = acc + 2^(n-2) mod 2^n
    pads[j][use]  the segment of key j for that use, one integer per element; key j is the key that role j lacks

Roles are A, B, C. A value x = x[A] + x[B] + x[C] mod 2^n (bits: xor); part x[j] is known to the two roles other than j.
Each role is a generator: it yields what it sends and is given what it receives, so it cannot see another role's data.
"""
import argparse
import json
import random

ROLES = "ABC"
NEXT = {"A": "B", "B": "C", "C": "A"}
PREV = {"B": "A", "C": "B", "A": "C"}


# ---- the world: pads and links --------------------------------------------------------------------------------------

class Pads:
    """Key streams by (key, use). Given ones are read; missing ones are drawn when `rng` is there."""

    def __init__(self, given=None, rng=None):
        self.drawn = {key: dict((given or {}).get(key, {})) for key in ROLES}
        self.rng = rng
        self.hiding = set()

    def take(self, role, key, use, width, count):
        assert role != key, f"{role} does not know key {key}"
        if use not in self.drawn[key]:
            assert self.rng, f"the case has no pad {use!r} of key {key}"
            self.drawn[key][use] = [self.rng.getrandbits(width) for _ in range(count)]
        segment = self.drawn[key][use]
        assert len(segment) == count and all(0 <= x < 1 << width for x in segment), (key, use)
        return segment

    def hide(self, key, use):
        assert (key, use) not in self.hiding, f"pad {use!r} of key {key} hides two messages"
        self.hiding.add((key, use))


def run(case, pads, show=None):
    """Runs the three roles in lock step. Returns the opened outputs, bits sent per exchange and role."""
    parties = {role: party(role, {k: v for k, v in case.items() if k not in ("z", "pads")}, case["z"][role], pads)
               for role in ROLES}
    inbox, results, bits = {role: None for role in ROLES}, {}, []
    while len(results) < 3:
        sent = {}
        for role, generator in parties.items():
            try:
                sent[role] = generator.send(inbox[role])
            except StopIteration as done:
                results[role] = done.value
        assert not (results and sent), "all roles stop after the same exchange"
        if not sent:
            break
        bits.append({role: 0 for role in ROLES})
        inbox = {role: {} for role in ROLES}
        for role, messages in sent.items():
            for to, use, width, values in messages:
                # The pad rule: a message to `to` lies under a fresh pad of the key that `to` lacks.
                assert use in pads.drawn[to], f"{role} sends {use!r} to {to} without a pad"
                pads.hide(to, use)
                inbox[to][use] = values
                bits[-1][role] += width * len(values)
                if show:
                    show(len(bits), role, to, use, width, values)
    opened = []
    for k in range(len(case["z"]["A"])):
        parts = {j: {results[role][j][k] for role in ROLES if role != j} for j in ROLES}
        assert all(len(p) == 1 for p in parts.values()), "the two holders of a part disagree"
        y = sum(min(p) for p in parts.values()) % (1 << case["n"])
        opened.append(y - (1 << case["n"]) if y >> (case["n"] - 1) else y)
    return opened, bits


# ---- one role -------------------------------------------------------------------------------------------------------

class Role:
    """What one role knows, and the four message patterns. `width` 1 means bits under xor, else integers mod 2^width."""

    def __init__(self, me, pads, count):
        self.me, self.pads, self.count = me, pads, count
        self.out, self.later = [], []

    def pad(self, key, use, width):
        return self.pads.take(self.me, key, use, width, self.count)

    def zero(self):
        return [0] * self.count

    def deal(self, into, use, width, values):
        """A knows `values`. Part C is a pad; part B goes to C under that pad; part A is zero."""
        if self.me == "A":
            pad = self.pad("C", use, width)
            masked = sub(values, pad, width)
            self.out.append(("C", use, width, masked))
            into[use] = {"C": pad, "B": masked}
        elif self.me == "B":
            into[use] = {"C": self.pad("C", use, width), "A": self.zero()}
        else:
            self.later.append(lambda got: into.update({use: {"B": got[use], "A": self.zero()}}))

    def reshare_bc(self, into, use, width, summand):
        """B and C hold summands. Parts C and B are pads; part A is the sum of the two messages."""
        if self.me == "A":
            into[use] = {key: self.pad(key, use, width) for key in "BC"}
            return
        other = "C" if self.me == "B" else "B"
        pad = self.pad(other, use, width)
        mine = sub(summand, pad, width)
        self.out.append((other, use, width, mine))
        self.later.append(lambda got: into.update({use: {other: pad, "A": add(mine, got[use], width)}}))

    def reshare(self, into, use, width, summand):
        """All three hold summands. A role sends its own to the next one, plus a share of zero."""
        behind, ahead = PREV[self.me], NEXT[self.me]
        mine = sub(add(summand, self.pad(behind, use, width), width), self.pad(ahead, use, width), width)
        self.out.append((ahead, use, width, mine))
        self.later.append(lambda got: into.update({use: {behind: mine, ahead: got[use]}}))

    def product(self, x, y, width):
        """This role's summand of x·y; the three summands make the product."""
        j, k = NEXT[self.me], PREV[self.me]
        terms = [mul(x[j], y[k], width), mul(x[k], y[j], width), mul(x[j], y[j], width)]
        return add(add(terms[0], terms[1], width), terms[2], width)

    def exchange(self):
        """Sends what was put down since the last exchange, then files what came in."""
        out, self.out = self.out, []
        got = yield out
        later, self.later = self.later, []
        for file in later:
            file(got)


def add(x, y, width):
    return [p ^ q for p, q in zip(x, y)] if width == 1 else [(p + q) % (1 << width) for p, q in zip(x, y)]


def sub(x, y, width):
    return [p ^ q for p, q in zip(x, y)] if width == 1 else [(p - q) % (1 << width) for p, q in zip(x, y)]


def mul(x, y, width):
    return [p & q for p, q in zip(x, y)] if width == 1 else [(p * q) % (1 << width) for p, q in zip(x, y)]


def share_add(x, y, width):
    return {j: add(x[j], y[j], width) for j in x}


def plus_bc(x, values, width):
    """Adds what B and C both know, into part A. A itself has nothing to do."""
    return {j: add(x[j], values, width) if j == "A" else x[j] for j in x}


def bit(values, i):
    return [(x >> i) & 1 for x in values]


def pieces(case):
    """(name, B, lowest threshold, highest threshold) of each piece, and the output every piece counts from."""
    if case["b_n"] is None:
        return [("p", case["b_p"], case["lo"] + 1, case["hi"])], case["lo"]
    both = [("p", case["b_p"], case["zp"] + 1, case["hi"]), ("n", case["b_n"], case["lo"] + 1, case["zp"])]
    return [p for p in both if p[2] <= p[3]], case["zp"]


def threshold(case, b, output):
    """Smallest acc with floor((M'·acc + B) / 2^s) >= output."""
    return -((b - (output << case["s"])) // case["m"])


def party(me, case, z, pads):
    n, s, a, m = case["n"], case["s"], case["a"], case["m"]
    plan, base = pieces(case)
    role = Role(me, pads, len(z))
    knows_v = me != "A"
    x = {}

    # Exchange 1. B and C swap their summands under pads: both then know v, A knows u, v - u = acc + 2^(n-2).
    # A shares the bits of u, those of M'·u below 2^s, and the upper parts as ring elements.
    u = v = None
    if me == "A":
        u = sub(add(role.pad("C", "r", n), role.pad("B", "r", n), n), z, n)
        u1 = [m * e for e in u]
        u0 = [m * (e - ((e >> (n - 1)) << n)) for e in u]
    else:
        other = NEXT["B"] if me == "B" else "B"
        masked = add(z, role.pad(other, "r", n), n)
        role.out.append((other, "r", n, masked))
    known = (lambda f: f()) if me == "A" else (lambda f: None)
    for i in range(s):
        role.deal(x, f"U1.{i}", 1, known(lambda: bit(u1, i)))
        if i >= n:
            role.deal(x, f"U0.{i}", 1, known(lambda: bit(u0, i)))
    for i in range(a + 1):
        role.deal(x, f"u.{i}", 1, known(lambda: bit(u, i)))
    role.deal(x, "U1>>s", n, known(lambda: [(e >> s) % (1 << n) for e in u1]))
    if s <= n:
        role.deal(x, "wrap", n, known(lambda: [((e >> (n - 1)) * m << (n - s)) % (1 << n) for e in u]))
    else:
        role.deal(x, "U0>>s", n, known(lambda: [(e >> s) % (1 << n) for e in u0]))
    if knows_v:
        role.later.append(lambda got: x.update({"v": add(masked, got["r"], n)}))
    yield from role.exchange()
    v = x.pop("v", None)

    # Exchange 2. B and C hold xor summands of every leaf [u_i > v_i] and reshare them. [u_i = v_i] is local, unless the bit
    # is picked from two versions by the top bit of v. The quotient before borrow and clamp is reshared as well.
    mine = "C" if me == "B" else "B"  # the part that B, or C, puts into a summand; A has none
    top = bit(v, n - 1) if knows_v else None
    no_top = [1 - t for t in top] if knows_v else None
    shifted = {}  # per piece V, known to B and C
    for name, b, _, _ in plan:
        shifted[name] = [m * (e - (1 << (n - 2))) + b for e in v] if knows_v else None

    def picked(i):
        """B's or C's summand of bit i of the version of U that the top bit of v selects."""
        if i < n:
            return x[f"U1.{i}"][mine]
        return add(mul(top, x[f"U1.{i}"][mine], 1), mul(no_top, x[f"U0.{i}"][mine], 1), 1)

    compare = {}  # name -> (operand known to B and C, number of bits, whether against U or u)
    for name, b, low, high in plan:
        compare[f"c_{name}"] = (shifted[name], s, "U")
        for end, output in (("low", low), ("high", high)):
            t = threshold(case, b, output)
            compare[f"neg_{name}_{end}"] = ([e - (1 << (n - 2)) - t for e in v] if knows_v else None, a, "u")
    for name, (operand, width, against) in compare.items():
        for i in range(width):
            two_versions = against == "U" and i >= n
            summand = equal = None
            if knows_v:
                theirs = picked(i) if against == "U" else x[f"u.{i}"][mine]
                summand = mul(theirs, [1 - e for e in bit(operand, i)], 1)
                if two_versions:
                    equal = add(theirs, [1 - e for e in bit(operand, i)], 1) if me == "B" else theirs
            role.reshare_bc(x, f"{name}.lt.{i}", 1, summand)
            if two_versions:
                role.reshare_bc(x, f"{name}.eq.{i}", 1, equal)
            else:
                secret = x[f"{'U1' if against == 'U' else 'u'}.{i}"]
                x[f"{name}.eq.{i}"] = plus_bc(secret, [1 - e for e in bit(operand, i)], 1) if knows_v else secret
    first = plan[0][0]
    quotient = None
    if knows_v:
        if s <= n:
            upper = sub(mul(no_top, x["wrap"][mine], n), x["U1>>s"][mine], n)
        else:
            upper = sub(role.zero(), add(mul(top, x["U1>>s"][mine], n), mul(no_top, x["U0>>s"][mine], n), n), n)
        quotient = add(upper, [e >> s for e in shifted[first]], n) if me == "B" else upper
    role.reshare_bc(x, "X", n, quotient)
    yield from role.exchange()

    # Exchanges 3 and on. All trees together: (lt, eq) of neighbours becomes (lt_hi xor eq_hi·lt_lo, eq_hi·eq_lo), most
    # significant last. An odd list passes its top pair on; the lowest pair needs no eq.
    trees = {name: [(x[f"{name}.lt.{i}"], x[f"{name}.eq.{i}"] if i else None) for i in range(width)]
             for name, (_, width, _) in compare.items()}
    level = 0
    while any(len(pairs) > 1 for pairs in trees.values()):
        level += 1
        for name, pairs in trees.items():
            for k in range(len(pairs) // 2):
                (lt_lo, eq_lo), (_, eq_hi) = pairs[2 * k], pairs[2 * k + 1]
                role.reshare(x, f"{name}.{level}.{k}.lt", 1, role.product(eq_hi, lt_lo, 1))
                if k:
                    role.reshare(x, f"{name}.{level}.{k}.eq", 1, role.product(eq_hi, eq_lo, 1))
        yield from role.exchange()
        for name, pairs in trees.items():
            merged = [(share_add(pairs[2 * k + 1][0], x[f"{name}.{level}.{k}.lt"], 1),
                       x[f"{name}.{level}.{k}.eq"] if k else None) for k in range(len(pairs) // 2)]
            trees[name] = merged + pairs[2 * len(merged):]

    def result(name):
        """The borrow of a comparison with U, or the sign (borrow and top bits) of one with u."""
        borrow = trees[name][0][0]
        if compare[name][2] == "U":
            return borrow
        borrow = share_add(borrow, x[f"u.{a}"], 1)
        return plus_bc(borrow, bit(compare[name][0], a), 1) if knows_v else borrow

    # Third exchange from the end. g = Σ ok·c over the pieces; A shares its xor of ok and of the two clamped sides.
    selected = {}
    for name, _, _, _ in plan:
        below, below_high = result(f"neg_{name}_low"), result(f"neg_{name}_high")
        selected[f"ok_{name}"] = share_add(below, below_high, 1)
        if name == "p":
            selected["over"] = plus_bc(below_high, [1] * role.count, 1)
        if name == "n":
            selected["under"] = below
    summands = [role.product(selected[f"ok_{name}"], result(f"c_{name}"), 1) for name, _, _, _ in plan]
    role.reshare(x, "g", 1, summands[0] if len(summands) == 1 else add(*summands, 1))

    def alpha(b):
        return add(b["B"], b["C"], 1) if me == "A" else None

    def in_ring(dealt, b):
        """B's or C's summand of a bit: α + β - 2αβ, α dealt by A, β the part that A lacks."""
        value = mul(dealt[mine], [1 - 2 * e for e in b["A"]], n)
        return add(value, b["A"], n) if me == "B" else value

    for name, b in selected.items():
        role.deal(x, f"ring {name}", n, alpha(b))
    yield from role.exchange()

    # Second from the end. ok becomes a replicated ring element; A shares its xor of g.
    for name, b in selected.items():
        if name.startswith("ok"):
            role.reshare_bc(x, f"arith {name}", n, in_ring(x[f"ring {name}"], b) if knows_v else None)
    role.deal(x, "ring g", n, alpha(x["g"]))
    yield from role.exchange()

    # Last. y - base = Σ ok·(X - base) - g + over·(hi - base) + under·(lo - base), in one reshare.
    total = role.zero()
    for name, _, _, _ in plan:
        from_base = x["X"]
        if knows_v:
            step = [(p >> s) - (q >> s) - base for p, q in zip(shifted[name], shifted[first])]
            from_base = plus_bc(from_base, step, n)
        total = add(total, role.product(x[f"arith ok_{name}"], from_base, n), n)
    if knows_v:
        total = sub(total, in_ring(x["ring g"], x["g"]), n)
        for name, bound in (("over", case["hi"]), ("under", case["lo"])):
            if name in selected:
                weight = [(bound - base) % (1 << n)] * role.count
                total = add(total, mul(in_ring(x[f"ring {name}"], selected[name]), weight, n), n)
    role.reshare(x, "y", n, total)
    yield from role.exchange()
    return plus_bc(x["y"], [base] * role.count, n)


# ---- cases ----------------------------------------------------------------------------------------------------------

def wanted(case, acc):
    """The formula the outputs are held against."""
    p = (case["m"] * acc + case["b_p"]) >> case["s"]
    if case["b_n"] is None:
        return min(max(p, case["lo"]), case["hi"])
    below = (case["m"] * acc + case["b_n"]) >> case["s"]
    if p > case["zp"]:
        return min(p, case["hi"])
    return max(below, case["lo"]) if below < case["zp"] else case["zp"]


def accumulators(case):
    n = case["n"]
    sums = [sum(z) % (1 << n) for z in zip(*(case["z"][role] for role in ROLES))]
    return [e - (1 << (n - 2)) for e in sums]


def check_conditions(case):
    """What the compiler promises; the protocol relies on it."""
    n = case["n"]
    assert case["lo"] <= case["zp"] <= case["hi"] and case["lo"] < case["hi"] and case["m"] > 0 and case["a"] < n
    for acc in accumulators(case):
        assert abs(acc) < 1 << (n - 2)
        for _, b, low, high in pieces(case)[0]:
            for output in (low, high):
                assert abs(acc - threshold(case, b, output)) < 1 << case["a"]


def draw(rng, n, s, two, count):
    """A random case: accumulators at random, near zero, and around thresholds."""
    room = 1 << (n - 3)
    half = 1 << (s - 1)
    lo, hi = rng.choice([(-128, 127), (0, 255)])
    zp = rng.choice([lo, hi, (lo + hi) // 2, rng.randint(lo, hi)])
    if not two:
        lo = rng.choice([lo, min(zp, hi - 1)])
    slowest = 1 << (12 - n + s) if 12 - n + s > 0 else 1
    m = rng.randint(slowest, max(slowest, half))
    b_p = (zp << s) + half + rng.randint(-half // 2, half // 2)
    b_n = b_p + rng.choice([0, 1, half // 8]) if two else None
    case = {"n": n, "s": s, "a": n - 2, "m": m, "b_p": b_p, "b_n": b_n, "zp": zp, "lo": lo, "hi": hi}
    acc = []
    for _ in range(count):
        near = threshold(case, rng.choice([b_p, b_p if b_n is None else b_n]), rng.randint(lo + 1, hi)) + rng.randint(-2, 2)
        acc.append(rng.choice([rng.randint(-room + 1, room - 1), rng.randint(-8, 8), max(-room + 1, min(room - 1, near))]))
    z = {role: [rng.getrandbits(n) for _ in acc] for role in "BC"}
    z["A"] = [(e + (1 << (n - 2)) - p - q) % (1 << n) for e, p, q in zip(acc, z["B"], z["C"])]
    return case | {"z": {role: z[role] for role in ROLES}}


def self_check(seed):
    rng = random.Random(seed)
    print(f"seed {seed}")
    shapes = [(16, 12), (16, 16), (16, 21), (20, 14), (25, 30), (32, 20), (32, 28), (32, 31), (32, 32), (32, 36), (32, 40)]
    elements = 0
    for n, s in shapes:
        for two in (False, True):
            for _ in range(6):
                case = draw(rng, n, s, two, count=8)
                check_conditions(case)
                opened, bits = run(case, Pads(rng=rng))
                assert opened == [wanted(case, acc) for acc in accumulators(case)], case
                elements += len(opened)
                # Two more for the split and the leaves, three after the trees.
                assert len(bits) == 2 + (max(s, case["a"]) - 1).bit_length() + 3
    # A case in full: replaying it with its recorded pads gives the same messages.
    case, pads, said = draw(rng, 32, 28, False, count=2), Pads(rng=rng), [[], []]
    run(case, pads, lambda *message: said[0].append(message))
    run(case, Pads(given=pads.drawn), lambda *message: said[1].append(message))
    assert said[0] == said[1]
    # The check can fail: one flipped bit shows.
    assert flipped_is_seen(case, pads), "a flipped bit went unseen"
    case = draw(rng, 32, 28, False, count=1) | {"a": 27}
    sent = run(case | {"z": {"A": [0], "B": [0], "C": [1 << 30]}}, Pads(rng=rng))[1]
    cost = sum(sum(e.values()) for e in sent)
    print(f"{elements} elements right, one and two pieces, s from 12 to 40; "
          f"n=32 s=28 a=27, one piece: {len(sent)} exchanges, {cost / 3:.0f} bits per party and element")


def flipped_is_seen(case, pads):
    class Flipped(Pads):
        """Role B reads one wrong bit of one pad: its part of g is off by one, and so is every output."""

        def take(self, role, key, use, width, count):
            segment = super().take(role, key, use, width, count)
            return [e ^ 1 for e in segment] if (role, key, use) == ("B", "C", "ring g") else segment

    try:
        opened, _ = run(case, Flipped(given=pads.drawn))
    except AssertionError:
        return True
    return opened != [wanted(case, acc) for acc in accumulators(case)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", help="a case as JSON")
    parser.add_argument("--make-case", type=int, metavar="SEED")
    parser.add_argument("--two-pieces", action="store_true", help="with --make-case")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--s", type=int, default=28)
    parser.add_argument("--seed", type=int, default=1, help="of the self-check")
    args = parser.parse_args()
    if args.make_case is not None:
        rng = random.Random(args.make_case)
        case, pads = draw(rng, args.n, args.s, args.two_pieces, count=2), Pads(rng=rng)
        run(case, pads)
        print(json.dumps(case | {"pads": pads.drawn}, indent=1))
    elif args.case:
        with open(args.case) as file:
            case = json.load(file)
        check_conditions(case)
        opened, bits = run(case, Pads(given=case["pads"]), lambda exchange, role, to, use, width, values: print(
            f"exchange {exchange:2}  {role} -> {to}  {use:20} {width:2} bit  {' '.join(f'{e:x}' for e in values)}"))
        for k, sent in enumerate(bits, 1):
            print(f"exchange {k:2}  bits sent  " + "  ".join(f"{role} {sent[role]}" for role in ROLES))
        print("opened ", *opened)
        print("formula", *(wanted(case, acc) for acc in accumulators(case)))
    else:
        self_check(args.seed)


if __name__ == "__main__":
    main()
