//! The op table: each op is written once.
//!
//! `mnemonic = Variant(operands) { immediates } class`. `[list]` operands take any number. From a line come the enum,
//! printer, parser, encoder and decoder; the type rule ([`crate::infer`]), the meaning ([`crate::eval`]), the execution and the
//! cost are matches without a wildcard, so a new op does not build until each has an answer.
//!
//! Suffixes say what an operand is: `_p` public, `_h` held, `_ss` two shares. Ops without suffix take every form.
//! Roles: rotation `rot` names A = rot, B = rot+1, C = rot+2 (mod 3).
use crate::bytecode::{DecodeError, Reader, Writer};
use crate::imm::{Amounts, Axes, Dims, Imm, PlaneList, SoftmaxRule, Strided, Strides, Terms, Window};
use crate::program::Value;
use crate::text::TextError;
use crate::text::lex::{Word, Words};
use crate::types::Holders;
use std::fmt;

/// Whether an op talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// No message.
    Local,
    /// One exchange.
    Round,
}

/// A line of the op table, for reference pages.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name in the text form.
    pub mnemonic: &'static str,
    /// Operands in order.
    pub operands: &'static [&'static str],
    /// Immediates in order.
    pub immediates: &'static [&'static str],
    /// Whether it talks.
    pub class: Class,
    /// What it means.
    pub doc: &'static str,
}

/// The reference page of the op table.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Ops of the program\n\nMade from `ir/src/ops.rs`; `QNN_BLESS=1 cargo test -p ir` rewrites it.\n\n\
         | op | operands | immediates | class | meaning |\n|---|---|---|---|---|\n",
    );
    for e in TABLE {
        let class = match e.class {
            Class::Local => "local",
            Class::Round => "one exchange",
        };
        let (operands, immediates, doc) = (e.operands.join(", "), e.immediates.join(", "), e.doc.trim());
        page.push_str(&format!("| `{}` | {operands} | {immediates} | {class} | {doc} |\n", e.mnemonic));
    }
    page
}

fn unknown_op(name: &str) -> String {
    let start: String = name.chars().take(32).collect();
    format!("unknown op `{}`", crate::text::escape(&start))
}

macro_rules! ops {
    ($($(#[doc = $doc:literal])* $name:ident = $variant:ident ( $($arg:ident),* ) $([$list:ident])? { $($imm:ident : $ty:ty),* } $class:ident;)*) => {
        /// One operation over values of type `V`.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "operands and immediates are explained at their op")]
        pub enum Op<V> {
            $($(#[doc = $doc])* $variant { $($arg: V,)* $($list: Vec<V>,)? $($imm: $ty,)* },)*
        }

        impl<V: Copy> Op<V> {
            /// Name in the text form.
            pub fn mnemonic(&self) -> &'static str {
                match self { $(Op::$variant { .. } => stringify!($name),)* }
            }

            /// Whether it talks.
            pub fn class(&self) -> Class {
                match self { $(Op::$variant { .. } => Class::$class,)* }
            }

            /// Operands in order.
            pub fn operands(&self) -> Vec<V> {
                match self {
                    $(Op::$variant { $($arg,)* $($list,)? .. } => {
                        #[allow(unused_mut)]
                        let mut all: Vec<V> = vec![$(*$arg),*];
                        $(all.extend_from_slice($list);)?
                        all
                    })*
                }
            }

            /// The same op over other values.
            pub fn map<W>(&self, mut of: impl FnMut(V) -> W) -> Op<W> {
                let _ = &mut of;
                match self {
                    $(Op::$variant { $($arg,)* $($list,)? $($imm,)* } => Op::$variant {
                        $($arg: of(*$arg),)*
                        $($list: $list.iter().map(|v| of(*v)).collect(),)?
                        $($imm: $imm.clone(),)*
                    },)*
                }
            }
        }

        /// Every op, in the order of their codes.
        pub const TABLE: &[Entry] = &[$(Entry {
            mnemonic: stringify!($name),
            operands: &[$(stringify!($arg),)* $(concat!(stringify!($list), "…"),)?],
            immediates: &[$(stringify!($imm)),*],
            class: Class::$class,
            doc: concat!($($doc),*),
        },)*];

        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Code { $($variant,)* }

        impl Op<u32> {
            /// Appends opcode, operands, immediates.
            pub fn encode(&self, w: &mut Writer) {
                match self {
                    $(Op::$variant { $($arg,)* $($list,)? $($imm,)* } => {
                        w.byte(Code::$variant as u8);
                        $(w.varint(u64::from(*$arg));)*
                        $(w.varint($list.len() as u64); for v in $list { w.varint(u64::from(*v)); })?
                        $($imm.encode(w);)*
                    })*
                }
            }

            /// Reads what `encode` wrote. Operands are not checked here.
            pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let code = r.byte()?;
                $(if code == Code::$variant as u8 {
                    return Ok(Op::$variant {
                        $($arg: u32::decode(r)?,)*
                        $($list: {
                            let n = r.length(4096)?;
                            (0..n).map(|_| u32::decode(r)).collect::<Result<Vec<u32>, _>>()?
                        },)?
                        $($imm: <$ty as Imm>::decode(r)?,)*
                    });
                })*
                Err(r.bad("unknown opcode"))
            }
        }

        impl Op<Value> {
            /// Reads what follows the mnemonic. Operands are not checked here.
            pub fn parse(name: Word<'_>, words: &mut Words<'_>) -> Result<Self, TextError> {
                match name.text {
                    $(stringify!($name) => Ok(Op::$variant {
                        $($arg: words.operand()?,)*
                        $($list: words.operands()?,)?
                        $($imm: words.immediate::<$ty>(stringify!($imm))?,)*
                    }),)*
                    other => Err(words.bad_at(name, unknown_op(other))),
                }
            }
        }

        impl<V: fmt::Display> fmt::Display for Op<V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Op::$variant { $($arg,)* $($list,)? $($imm,)* } => {
                        f.write_str(stringify!($name))?;
                        let mut sep = " ";
                        let _ = &mut sep;
                        $(write!(f, "{sep}{}", $arg)?; sep = ", ";)*
                        $(for v in $list { write!(f, "{sep}{v}")?; sep = ", "; })?
                        $(write!(f, "{sep}{}=", stringify!($imm))?; $imm.print(f)?; sep = ", ";)*
                        let _ = sep;
                        Ok(())
                    })*
                }
            }
        }
    };
}

ops! {
    /// Input `index` of the program, stored integers in the clear at its owner.
    input = Input() { index: u32 } Local;
    /// Weight tensor `index` of the weights file, in the clear at the model owner.
    weight = Weight() { index: u32 } Local;
    /// Public constant `index` of the program.
    constant = Constant() { index: u32 } Local;
    /// Delivers a held value as output `index`.
    output = Output(x) { index: u32 } Local;
    /// The sharing that the call before stored as `index`; x in the first call. It is no fresh sharing and need not be one:
    /// its pieces tell their holders nothing new, and each message made from it is masked with pads of its own call.
    state = State(x) { index: u32 } Local;
    /// Stores a sharing as `index` for the next call: every party keeps its pieces, nothing is sent.
    store = Store(x) { index: u32 } Local;

    /// Number of window positions inside an input of `size` = [height width]: public `[1 oh ow 1]`.
    window_count = WindowCount() { size: Dims, window: Window } Local;
    /// `table[index]`, both public.
    take_pp = TakePp(table, index) {} Local;

    /// Difference of public values.
    sub_pp = SubPp(a, b) {} Local;
    /// Smallest integer a with floor((m·a + b) / 2^s) ≥ j, all public.
    threshold_pp = ThresholdPp(m, s, b, j) {} Local;

    /// Sum (XOR on bits) of two values of one form; NumPy broadcasting in the ring.
    add = Add(a, b) {} Local;
    /// Difference; on bits the same as `add`.
    sub = Sub(a, b) {} Local;
    /// Adds a public value, broadcast; on bits, flips the planes whose bits are set in it.
    add_p = AddP(x, p) {} Local;
    /// Subtracts a public value, broadcast.
    sub_p = SubP(x, p) {} Local;
    /// Multiplies by a public value, broadcast; on bits, clears the planes whose bits are not set in it.
    mul_p = MulP(x, p) {} Local;
    /// Flips every bit.
    not = Not(x) {} Local;
    /// The same number in a smaller ring.
    cast = Cast(x) { bits: u8 } Local;
    /// 2^by times the number, in a ring that is `by` bits wider.
    raise = Raise(x) { by: u8 } Local;

    /// Reads held integers of `bits` bits as signed.
    sext_h = SextH(x) { bits: u8 } Local;
    /// The low p bits of held integers, moved up by to − p.
    align_hp = AlignHp(x, p) { to: u8 } Local;
    /// Shifts held integers right by public amounts, keeping the sign.
    sar_hp = SarHp(x, p) {} Local;
    /// Bits `lo .. lo+width` of held integers as planes.
    planes_h = PlanesH(x) { lo: u8, width: u8 } Local;
    /// Held bit planes as unsigned integers.
    number_h = NumberH(x) {} Local;
    /// One-hot vectors of the chunks of `chunk` planes (the last may be smaller), each without its entry 0.
    onehot_h = OnehotH(x) { chunk: u8 } Local;
    /// Products of planes: every one that divides a term of `of`.
    products_h = ProductsH(x) { of: Terms } Local;
    /// Held integers or summands where a bit held by the same parties is set, zero elsewhere.
    keep_h = KeepH(x, bit) {} Local;
    /// The reference softmax over the last axis of held stored integers.
    softmax_h = SoftmaxH(x) { rule: SoftmaxRule } Local;

    /// Chooses planes.
    pick = Pick(x) { planes: PlaneList } Local;
    /// Stacks planes.
    stack = Stack()[parts] {} Local;
    /// XORs planes: bit j of entry i of the public table says whether result j takes plane i − 1; entry 0 is the constant.
    mix_p = MixP(x, table) { width: u8 } Local;
    /// XORs elements of the last axis into planes: element i into plane `to[i]`, all public; nowhere if that is negative.
    fold_p = FoldP(x, to) { width: u8 } Local;

    /// A share or held value as summands at `at`.
    as_sum = AsSum(x) { at: Holders, bits: u8 } Local;
    /// A value held by all but one party, or summands at all parties of an additive sharing, as a sharing.
    embed = Embed(x) { bits: u8 } Local;
    /// Element-wise product of two sharings, as summands.
    mul_ss = MulSs(a, b) {} Local;
    /// Element-wise product of a sharing, or of summands at two parties, and a value held by those two, as summands there.
    mul_sh = MulSh(a, h) {} Local;
    /// Element-wise product of values held by the same parties.
    mul_hh = MulHh(a, b) {} Local;
    /// Convolution of sharings, NHWC by `[out kh kw in/groups]`, as summands.
    conv2d_ss = Conv2dSs(x, w) { window: Window, groups: u32 } Local;
    /// Depthwise convolution of sharings, NHWC by `[kh kw in·m]`, as summands.
    depthwise_ss = DepthwiseSs(x, w) { window: Window } Local;

    /// x = v − u with pads: u held at A, summands of v at B and C.
    split = Split(x) { rot: u8 } Local;
    /// x = v − u (u xor v on bits) from a sharing: u held at A, v at B and C.
    split_shared = SplitShared(x) { rot: u8 } Local;

    /// The bits with which `mask` of the same tag masks, in the clear at A; no message, they are pads.
    beta = Beta() { tag: u32, width: u8, shape: Dims, rot: u8 } Local;
    /// Summands of bits at B and C, each masked with a pad that it shares with A: x xor beta, to be joined.
    mask = Mask(x) { tag: u32 } Local;
    /// Chunks of v against chunks whose one-hot vectors `hot` are summands: first [v < chunk] of each, then [v = chunk].
    leaves_sh = LeavesSh(hot, v) { chunk: u8 } Local;
    /// One-hot vectors of v − u mod 2^n from those of u, summands, each without its entry 0.
    onehot_sh = OnehotSh(hot, v) {} Local;
    /// The terms `of` as summands, from opened t = x xor β, summands of x, and summands of the products of β.
    unmask = Unmask(t, x, products) { of: Terms } Local;

    /// Same elements, other shape.
    reshape = Reshape(x) { shape: Dims } Local;
    /// Repeats elements to a larger shape, as NumPy broadcasts.
    expand = Expand(x) { shape: Dims } Local;
    /// Adds zeros around.
    pad = Pad(x) { amounts: Amounts } Local;
    /// A strided part.
    slice = Slice(x) { part: Strided } Local;
    /// Joins `parts` along `axis`.
    concat = Concat()[parts] { axis: u32 } Local;
    /// The element at `start + Σ index·stride` for each index of a tensor of shape `shape`.
    view = View(x) { start: u32, shape: Dims, strides: Strides } Local;
    /// Slices of `axis` in the order of the public list `index`; zeros where there is no such slice.
    gather = Gather(x, index) { axis: u32 } Local;
    /// Sums over windows.
    window_sum = WindowSum(x) { window: Window } Local;
    /// Sums over axes, kept with size 1.
    reduce_sum = ReduceSum(x) { axes: Axes } Local;

    /// Summands (or a held value) become a sharing of `bits` bits: one message from each that holds a summand.
    reshare = Reshare(x) { bits: u8 } Round;
    /// A value held by A as summands at B and C: C's is a pad that it shares with A, B is sent the rest.
    deal = Deal(x) { bits: u8 } Round;
    /// Two parties exchange their masked summands; both then hold the sum.
    join = Join(x) {} Round;
    /// The named parties learn the value.
    open = Open(x) { to: Holders } Round;

    /// Rows of an n × n table at the entry of one of two vectors that is set (none: entry 0): plane r − 1 is row r where it
    /// is in `same`, row r − 1 where it is in `before`, XOR what row 0, or the last, has there. A new last axis counts bits.
    rows_p = RowsP(same, before, table) { width: u8 } Local;

    /// Operand `index` of a sharing, in the clear at the group that holds it. All operands of a sharing add up to it (XOR on
    /// bits), and no group knows anything of the sum.
    operand = Operand(x) { index: u8 } Local;
    /// Those to whom `from` has sent what it shares compare what they got, before anything is made of it.
    echo = Echo(x) { from: Holders } Round;

    /// Element-wise product of two sharings, where the protocol has products made ahead.
    mul = Mul(a, b) {} Round;
    /// Shared planes as an unsigned number, shared in a ring of `bits` bits.
    to_ring = ToRing(x) { bits: u8 } Round;
    /// Convolution of a sharing, NHWC, by weights of `width` bits that `at`, one party, holds, `[out kh kw in/groups]`.
    conv2d_sh = Conv2dSh(x, w) { window: Window, groups: u32, width: u8, at: Holders } Round;
    /// Depthwise convolution of a sharing, NHWC, by weights of `width` bits that `at`, one party, holds, `[kh kw in·m]`.
    depthwise_sh = DepthwiseSh(x, w) { window: Window, width: u8, at: Holders } Round;

    /// Step `step` of the checks of all products, where a party may lie in them; the sharings are handed on. What comes through
    /// the last step may be opened. Steps that hand on nothing are of early checks, of the products so far.
    check = Check()[parts] { step: u32 } Round;

    /// A public value as a sharing.
    share_p = ShareP(p) { bits: u8 } Local;
    /// Convolution of a sharing, NHWC, by public weights `[out kh kw in/groups]`.
    conv2d_p = Conv2dP(x, w) { window: Window, groups: u32 } Local;
    /// Depthwise convolution of a sharing, NHWC, by public weights `[kh kw in·m]`.
    depthwise_p = DepthwiseP(x, w) { window: Window } Local;
}
