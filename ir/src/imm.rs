//! Immediates: what an op carries besides its operands. Each knows its bytes and its text.
use crate::bytecode::{DecodeError, Reader, Writer};
use crate::text::TextError;
use crate::text::lex::{Token, Words};
use crate::types::Holders;
use std::fmt;

/// An immediate.
pub trait Imm: Sized {
    /// Appends its bytes.
    fn encode(&self, w: &mut Writer);
    /// Reads them back; the bytes are hostile.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Text form.
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Reads the text form back; it is hostile.
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError>;
}

macro_rules! small_imm {
    ($t:ty) => {
        impl Imm for $t {
            fn encode(&self, w: &mut Writer) {
                w.varint(u64::from(*self));
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <$t>::try_from(r.varint()?).map_err(|_| r.bad("immediate too large"))
            }
            fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
            fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
                words.number()
            }
        }
    };
}
small_imm!(u8);
small_imm!(u32);

impl Imm for Holders {
    fn encode(&self, w: &mut Writer) {
        w.varint(u64::from(self.0));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Holders(u16::try_from(r.varint()?).map_err(|_| r.bad("immediate too large"))?))
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        words.holders()
    }
}

fn print_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, list: &[T]) -> fmt::Result {
    let items: Vec<String> = list.iter().map(T::to_string).collect();
    write!(f, "[{}]", items.join(" "))
}

fn decode_list<T: Imm>(r: &mut Reader<'_>, cap: usize) -> Result<Vec<T>, DecodeError> {
    let n = r.length(cap)?;
    (0..n).map(|_| T::decode(r)).collect()
}

fn encode_list<T: Imm>(w: &mut Writer, list: &[T]) {
    w.varint(list.len() as u64);
    list.iter().for_each(|x| x.encode(w));
}

macro_rules! list_imm {
    ($(#[$doc:meta])* $name:ident, $item:ty, $cap:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name(pub Vec<$item>);
        impl Imm for $name {
            fn encode(&self, w: &mut Writer) {
                encode_list(w, &self.0);
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok($name(decode_list(r, $cap)?))
            }
            fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print_list(f, &self.0)
            }
            fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
                words.list($cap).map($name)
            }
        }
    };
}
impl Imm for i32 {
    fn encode(&self, w: &mut Writer) {
        w.signed(i64::from(*self));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        i32::try_from(r.signed()?).map_err(|_| r.bad("immediate too large"))
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        words.number()
    }
}

list_imm!(
    /// A shape.
    Dims, u32, 8
);
list_imm!(
    /// Axes of a tensor, ascending.
    Axes, u8, 8
);
list_imm!(
    /// Distance between neighbours along each axis, in elements; negative where an axis runs backwards.
    Strides, i32, 8
);
list_imm!(
    /// Plane numbers, in the order of the result.
    PlaneList, u32, 4096
);
list_imm!(
    /// Padding per axis: before and after, alternating.
    Amounts, u32, 16
);

/// Most factors of one product.
pub const MAX_FACTORS: u32 = 10;
/// Most results of one evaluation.
const MAX_SUMS: usize = 64;
/// Most products of one result.
const MAX_TERMS: usize = 256;

/// Per result plane, the products whose XOR it is. A product is the set of planes that it multiplies, bit i for plane i.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms(pub Vec<Vec<u64>>);

impl Terms {
    /// Every product of two or more planes that divides one of the terms, in ascending order of its set.
    pub fn subsets(&self) -> Vec<u64> {
        let mut all: Vec<u64> = Vec::new();
        for set in self.0.iter().flatten() {
            let mut part = *set;
            while part != 0 {
                if part.count_ones() >= 2 {
                    all.push(part);
                }
                part = (part - 1) & set;
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Imm for Terms {
    fn encode(&self, w: &mut Writer) {
        w.varint(self.0.len() as u64);
        for result in &self.0 {
            w.varint(result.len() as u64);
            result.iter().for_each(|set| w.varint(*set));
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let results = r.length(MAX_SUMS)?;
        if results == 0 {
            return Err(r.bad("no result"));
        }
        let one = |r: &mut Reader<'_>| {
            let n = r.length(MAX_TERMS)?;
            (0..n)
                .map(|_| r.varint().and_then(|set| if set == 0 { Err(r.bad("empty product")) } else { Ok(set) }))
                .collect()
        };
        Ok(Terms((0..results).map(|_| one(r)).collect::<Result<_, _>>()?))
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        words.take(Token::OpenList)?;
        let mut results = vec![vec![]];
        while !words.sees(Token::CloseList) {
            let (last, count) = (results.len() - 1, results.len());
            if words.accept(Token::Colon) {
                if count == MAX_SUMS {
                    return Err(words.bad(format!("more than {MAX_SUMS} results")));
                }
                results.push(vec![]);
                continue;
            }
            let terms: &mut Vec<u64> = &mut results[last];
            if !terms.is_empty() {
                words.take(Token::Plus)?;
            }
            if terms.len() == MAX_TERMS {
                return Err(words.bad(format!("more than {MAX_TERMS} products")));
            }
            terms.push(factors(words)?);
        }
        words.take(Token::CloseList)?;
        Ok(Terms(results))
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planes = |set: u64| -> String {
            let list: Vec<String> = (0..64).filter(|i| set >> i & 1 == 1).map(|i| i.to_string()).collect();
            list.join("*")
        };
        let results: Vec<String> =
            self.0.iter().map(|r| r.iter().map(|s| planes(*s)).collect::<Vec<_>>().join("+")).collect();
        write!(f, "[{}]", results.join(" : "))
    }
}

/// Reads `0*3*4` as the set of its numbers.
fn factors(words: &mut Words<'_>) -> Result<u64, TextError> {
    let mut set = 0u64;
    loop {
        let plane: u32 = words.number()?;
        if plane >= 64 || set >> plane != 0 {
            return Err(words.bad("planes are 0 to 63, in ascending order"));
        }
        set |= 1 << plane;
        if !words.accept(Token::Star) {
            return Ok(set);
        }
    }
}

/// A rectangular part: `size` elements from `start` with `stride`, per axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Strided {
    /// First index per axis.
    pub start: Vec<u32>,
    /// Number of elements per axis.
    pub size: Vec<u32>,
    /// Step per axis, at least 1.
    pub stride: Vec<u32>,
}

impl Imm for Strided {
    fn encode(&self, w: &mut Writer) {
        encode_list(w, &self.start);
        encode_list(w, &self.size);
        encode_list(w, &self.stride);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Strided { start: decode_list(r, 8)?, size: decode_list(r, 8)?, stride: decode_list(r, 8)? })
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_list(f, &self.start)?;
        f.write_str("+")?;
        print_list(f, &self.size)?;
        f.write_str("/")?;
        print_list(f, &self.stride)
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        let start = words.list(8)?;
        words.take(Token::Plus)?;
        let size = words.list(8)?;
        words.take(Token::Slash)?;
        Ok(Strided { start, size, stride: words.list(8)? })
    }
}

/// A 2-D window over NHWC with its output size; positions outside the input count as zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Output height and width.
    pub out: [u32; 2],
    /// Kernel height and width.
    pub kernel: [u32; 2],
    /// Strides, at least 1.
    pub stride: [u32; 2],
    /// Dilations, at least 1.
    pub dilation: [u32; 2],
    /// Padding before.
    pub pad: [u32; 2],
}

impl Window {
    /// One position that sees one: products of matrices as convolutions.
    pub const POINT: Window = Window { out: [1; 2], kernel: [1; 2], stride: [1; 2], dilation: [1; 2], pad: [0; 2] };
}

impl Imm for Window {
    fn encode(&self, w: &mut Writer) {
        for x in [self.out, self.kernel, self.stride, self.dilation, self.pad].as_flattened() {
            x.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut two = || Ok([u32::decode(r)?, u32::decode(r)?]);
        Ok(Window { out: two()?, kernel: two()?, stride: two()?, dilation: two()?, pad: two()? })
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x = |v: [u32; 2]| format!("{}x{}", v[0], v[1]);
        let (k, s, d, p) = (x(self.kernel), x(self.stride), x(self.dilation), x(self.pad));
        write!(f, "{}:k{k}:s{s}:d{d}:p{p}", x(self.out))
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        let out = words.pair("")?;
        let mut after = |letter| words.take(Token::Colon).and_then(|_| words.pair(letter));
        Ok(Window { out, kernel: after("k")?, stride: after("s")?, dilation: after("d")?, pad: after("p")? })
    }
}

/// The fixed-point softmax of the reference kernels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SoftmaxRule {
    /// Mantissa of `beta · scale · 2^26`.
    pub m: i32,
    /// Its exponent.
    pub e: i32,
    /// Differences to the maximum below this give `lo`.
    pub dmin: i32,
    /// Smallest stored output.
    pub lo: i32,
    /// Bits of the output type.
    pub bits: u32,
}

impl Imm for SoftmaxRule {
    fn encode(&self, w: &mut Writer) {
        for x in [self.m, self.e, self.dmin, self.lo] {
            w.signed(i64::from(x));
        }
        self.bits.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut one = || i32::try_from(r.signed()?).map_err(|_| r.bad("immediate too large"));
        let (m, e, dmin, lo) = (one()?, one()?, one()?, one()?);
        Ok(SoftmaxRule { m, e, dmin, lo, bits: u32::decode(r)? })
    }
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*2^{}:{}:{}:{}", self.m, self.e, self.dmin, self.lo, self.bits)
    }
    fn parse(words: &mut Words<'_>) -> Result<Self, TextError> {
        let m = words.number()?;
        words.take(Token::Star)?;
        if words.number::<u64>()? != 2 {
            return Err(words.bad("the base is not 2"));
        }
        words.take(Token::Caret)?;
        let e = words.number()?;
        words.take(Token::Colon)?;
        let dmin = words.number()?;
        words.take(Token::Colon)?;
        let lo = words.number()?;
        words.take(Token::Colon)?;
        Ok(SoftmaxRule { m, e, dmin, lo, bits: words.number()? })
    }
}
