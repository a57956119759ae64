//! `.npy` and `.npz` files of integer and real tensors.
//!
//! Files are untrusted: a bad one gives an [`NpyError`], and nothing is allocated before the file is known to be long
//! enough or the size is under [`MAX_ELEMENTS`]. Arrays come out in C order whatever their order in the file.
use npyz::zip::ZipArchive;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

/// Most elements of one array.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Most bytes of a header; NumPy writes 118 for ordinary arrays.
const MAX_HEADER: usize = 16 << 10;
/// Most axes, as in NumPy 1.
const MAX_AXES: usize = 32;
/// Most arrays in an archive.
const MAX_ENTRIES: usize = 1 << 16;

/// Element types that can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Element {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F32,
    F64,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::Bool | Element::I8 | Element::U8 => 1,
            Element::I16 | Element::U16 => 2,
            Element::I32 | Element::U32 | Element::F32 => 4,
            Element::I64 | Element::F64 => 8,
        }
    }

    /// Kind and size in a `descr`, without the byte order.
    fn code(self) -> &'static str {
        match self {
            Element::Bool => "b1",
            Element::I8 => "i1",
            Element::U8 => "u1",
            Element::I16 => "i2",
            Element::U16 => "u2",
            Element::I32 => "i4",
            Element::U32 => "u4",
            Element::I64 => "i8",
            Element::F32 => "f4",
            Element::F64 => "f8",
        }
    }

    fn from_code(code: &str) -> Option<Element> {
        use Element::*;
        [Bool, I8, U8, I16, U16, I32, U32, I64, F32, F64].into_iter().find(|e| e.code() == code)
    }
}

/// Elements in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of every integer type and of booleans.
    Int(Vec<i64>),
    /// Of both float types.
    Float(Vec<f64>),
}

/// An array of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Type in the file.
    pub element: Element,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements in C order.
    pub values: Values,
}

impl Array {
    /// The integers, unless the elements are floats.
    pub fn ints(&self) -> Option<&[i64]> {
        match &self.values {
            Values::Int(v) => Some(v),
            Values::Float(_) => None,
        }
    }
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NpyError {
    #[error("cannot access the file: {0}")]
    Io(#[from] io::Error),
    #[error("not an npz archive: {0}")]
    Zip(String),
    #[error("not an npy file: {0}")]
    Header(&'static str),
    #[error("elements of type `{0}` are not supported, save as int8, uint8, int16, int32, int64, float32 or float64")]
    Element(String),
    #[error("the array has more than {MAX_ELEMENTS} elements")]
    TooLarge,
    #[error("the file ends within the array")]
    Truncated,
    #[error("bytes follow the array")]
    Trailing,
    #[error("the shape has {shape} elements, the data {data}")]
    Count { shape: usize, data: usize },
    #[error("element {element} is {value}, which {target:?} cannot hold")]
    Range { element: usize, value: i64, target: Element },
    #[error("array `{name}`: {source}")]
    Entry { name: String, source: Box<NpyError> },
}

/// Reads a `.npy` file.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Array, NpyError> {
    parse_npy(BufReader::new(File::open(path)?))
}

/// Reads every array of a `.npz` archive; names come without `.npy`.
pub fn read_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Array>, NpyError> {
    parse_npz(BufReader::new(File::open(path)?))
}

/// Reads an archive from memory or a file.
pub fn parse_npz(source: impl Read + Seek) -> Result<BTreeMap<String, Array>, NpyError> {
    let mut archive = ZipArchive::new(source).map_err(|e| NpyError::Zip(e.to_string()))?;
    if archive.len() > MAX_ENTRIES {
        return Err(NpyError::Zip(format!("more than {MAX_ENTRIES} entries")));
    }
    let mut arrays = BTreeMap::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| NpyError::Zip(e.to_string()))?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else { continue };
        let array = parse_npy(entry).map_err(|e| NpyError::Entry { name: name.clone(), source: Box::new(e) })?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// Reads one array from memory or a file, to its end.
pub fn parse_npy(mut source: impl Read) -> Result<Array, NpyError> {
    let mut magic = [0; 8];
    exact(&mut source, &mut magic)?;
    if &magic[..6] != b"\x93NUMPY" {
        return Err(NpyError::Header("the magic bytes are missing"));
    }
    let length = match magic[6] {
        1 => {
            let mut length = [0; 2];
            exact(&mut source, &mut length)?;
            u16::from_le_bytes(length).into()
        }
        2 | 3 => {
            let mut length = [0; 4];
            exact(&mut source, &mut length)?;
            usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
        }
        _ => return Err(NpyError::Header("unknown version")),
    };
    if length > MAX_HEADER {
        return Err(NpyError::Header("the header is too long"));
    }
    let mut text = vec![0; length];
    exact(&mut source, &mut text)?;
    let text = str::from_utf8(&text).map_err(|_| NpyError::Header("the header is not text"))?;
    let header = Header::parse(text)?;
    let count = header.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    let count = count.filter(|&n| n <= MAX_ELEMENTS).ok_or(NpyError::TooLarge)?;
    let mut bytes = Vec::new();
    let size = count * header.element.size();
    // Grows with what is really there.
    let wanted = u64::try_from(size).map_err(|_| NpyError::TooLarge)?;
    source.by_ref().take(wanted).read_to_end(&mut bytes)?;
    if bytes.len() < size {
        return Err(NpyError::Truncated);
    }
    if source.read(&mut [0])? != 0 {
        return Err(NpyError::Trailing);
    }
    let mut values = header.values(&bytes);
    if header.fortran {
        values = match values {
            Values::Int(v) => Values::Int(from_fortran(&v, &header.shape)),
            Values::Float(v) => Values::Float(from_fortran(&v, &header.shape)),
        };
    }
    Ok(Array { element: header.element, shape: header.shape, values })
}

/// Writes integers as a `.npy` file of an integer type.
pub fn write_npy(path: impl AsRef<Path>, element: Element, shape: &[usize], data: &[i32]) -> Result<(), NpyError> {
    let bytes = format_npy(element, shape, data)?;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&bytes)?;
    Ok(file.flush()?)
}

/// The bytes of [`write_npy`].
pub fn format_npy(element: Element, shape: &[usize], data: &[i32]) -> Result<Vec<u8>, NpyError> {
    let mut bytes = format_header(element, shape, data.len())?;
    bytes.reserve(data.len() * element.size());
    for (i, &value) in data.iter().enumerate() {
        let out_of_range = || NpyError::Range { element: i, value: value.into(), target: element };
        match element {
            Element::Bool if (0..=1).contains(&value) => bytes.push(u8::from(value == 1)),
            Element::Bool => return Err(out_of_range()),
            Element::I8 => bytes.extend(i8::try_from(value).map_err(|_| out_of_range())?.to_le_bytes()),
            Element::U8 => bytes.extend(u8::try_from(value).map_err(|_| out_of_range())?.to_le_bytes()),
            Element::I16 => bytes.extend(i16::try_from(value).map_err(|_| out_of_range())?.to_le_bytes()),
            Element::U16 => bytes.extend(u16::try_from(value).map_err(|_| out_of_range())?.to_le_bytes()),
            Element::I32 => bytes.extend(value.to_le_bytes()),
            Element::U32 => bytes.extend(u32::try_from(value).map_err(|_| out_of_range())?.to_le_bytes()),
            Element::I64 => bytes.extend(i64::from(value).to_le_bytes()),
            Element::F32 | Element::F64 => return Err(NpyError::Element(element.code().to_owned())),
        }
    }
    Ok(bytes)
}

/// The same for float32.
pub fn format_npy_f32(shape: &[usize], data: &[f32]) -> Result<Vec<u8>, NpyError> {
    let mut bytes = format_header(Element::F32, shape, data.len())?;
    data.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    Ok(bytes)
}

/// What stands before `len` elements.
fn format_header(element: Element, shape: &[usize], len: usize) -> Result<Vec<u8>, NpyError> {
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).ok_or(NpyError::TooLarge)?;
    if count != len {
        return Err(NpyError::Count { shape: count, data: len });
    }
    let order = if element.size() == 1 { '|' } else { '<' };
    let axes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let code = element.code();
    let mut text = format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': ({axes}), }}");
    // Data starts at a multiple of 64.
    let padding = 63 - (10 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| NpyError::Header("the header is too long"))?;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    Ok(bytes)
}

/// Fills the buffer; an early end is [`NpyError::Truncated`].
fn exact(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), NpyError> {
    source.read_exact(buffer).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::Truncated,
        _ => NpyError::Io(e),
    })
}

/// The dictionary in front of the elements.
struct Header {
    element: Element,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }`: these keys, in any order, and no others.
    fn parse(text: &str) -> Result<Header, NpyError> {
        let bad = NpyError::Header;
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let body = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let mut rest = body.ok_or(bad("the header is no dictionary"))?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest).ok_or(bad("a key is not a string"))?;
            let after = after.trim_start().strip_prefix(':').ok_or(bad("a key has no value"))?.trim_start();
            rest = match key {
                "descr" if after.starts_with('[') => return Err(NpyError::Element("structure".to_owned())),
                "descr" => {
                    let (value, after) = quoted(after).ok_or(bad("`descr` is not a string"))?;
                    descr = Some(value);
                    after
                }
                "fortran_order" => {
                    let (value, after) = match (after.strip_prefix("True"), after.strip_prefix("False")) {
                        (Some(after), _) => (true, after),
                        (_, Some(after)) => (false, after),
                        _ => return Err(bad("`fortran_order` is neither True nor False")),
                    };
                    fortran = Some(value);
                    after
                }
                "shape" => {
                    let inner = after.strip_prefix('(').and_then(|t| t.split_once(')'));
                    let (list, after) = inner.ok_or(bad("`shape` is not a tuple"))?;
                    shape = Some(axes(list)?);
                    after
                }
                _ => return Err(bad("unknown key")),
            }
            .trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => return Err(bad("a comma is missing")),
            };
        }
        let descr = descr.ok_or(bad("`descr` is missing"))?;
        let unsupported = || NpyError::Element(descr.escape_debug().to_string());
        let order = descr.chars().next().filter(char::is_ascii).ok_or_else(unsupported)?;
        let (big_endian, code) = match order {
            '<' | '=' | '|' => (false, &descr[1..]),
            '>' => (true, &descr[1..]),
            _ => (false, descr),
        };
        Ok(Header {
            element: Element::from_code(code).ok_or_else(unsupported)?,
            big_endian,
            fortran: fortran.ok_or(bad("`fortran_order` is missing"))?,
            shape: shape.ok_or(bad("`shape` is missing"))?,
        })
    }

    fn values(&self, bytes: &[u8]) -> Values {
        match self.element {
            Element::Bool => Values::Int(bytes.iter().map(|&b| i64::from(b != 0)).collect()),
            Element::I8 => self.ints(bytes, i8::from_le_bytes),
            Element::U8 => self.ints(bytes, u8::from_le_bytes),
            Element::I16 => self.ints(bytes, i16::from_le_bytes),
            Element::U16 => self.ints(bytes, u16::from_le_bytes),
            Element::I32 => self.ints(bytes, i32::from_le_bytes),
            Element::U32 => self.ints(bytes, u32::from_le_bytes),
            Element::I64 => self.ints(bytes, i64::from_le_bytes),
            Element::F32 => Values::Float(self.words(bytes).map(|w| f32::from_le_bytes(w).into()).collect()),
            Element::F64 => Values::Float(self.words(bytes).map(f64::from_le_bytes).collect()),
        }
    }

    fn ints<const N: usize, T: Into<i64>>(&self, bytes: &[u8], read: fn([u8; N]) -> T) -> Values {
        Values::Int(self.words(bytes).map(|word| read(word).into()).collect())
    }

    /// Elements as little-endian bytes.
    fn words<const N: usize>(&self, bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        let (words, _) = bytes.as_chunks::<N>();
        let reverse = self.big_endian;
        words.iter().map(move |&(mut word)| {
            if reverse {
                word.reverse();
            }
            word
        })
    }
}

/// A Python string without escapes at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&c| c == '\'' || c == '"')?;
    text[1..].split_once(quote)
}

/// `3, 4` or `3,` or nothing.
fn axes(list: &str) -> Result<Vec<usize>, NpyError> {
    let list = list.trim();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let list = list.strip_suffix(',').unwrap_or(list);
    let axis = |axis: &str| {
        let digits = axis.trim().trim_end_matches('L');
        let digits = if digits.starts_with('+') { "" } else { digits };
        digits.parse().map_err(|_| NpyError::Header("an axis of `shape` is not a number"))
    };
    if list.split(',').count() > MAX_AXES {
        return Err(NpyError::Header("`shape` has too many axes"));
    }
    list.split(',').map(axis).collect()
}

/// Reorders elements whose first axis is the fastest.
fn from_fortran<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut index = vec![0; shape.len()];
    let mut result = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at = index.iter().zip(shape).rev().fold(0, |at, (&i, &size)| at * size + i);
        result.push(values[at]);
        for (i, &size) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let shapes: [(&[usize], usize); 5] = [(&[], 1), (&[3], 3), (&[2, 3], 6), (&[1, 2, 3, 4], 24), (&[0, 5], 0)];
        for element in [Element::I8, Element::U8, Element::I16, Element::U16, Element::I32, Element::U32, Element::I64]
        {
            for (shape, count) in shapes {
                let data: Vec<i32> = (0..count as i32).map(|i| i * 5).collect();
                let bytes = format_npy(element, shape, &data).unwrap();
                assert_eq!((bytes.len() - count * element.size()) % 64, 0);
                let array = parse_npy(&bytes[..]).unwrap();
                assert_eq!((array.element, &array.shape[..]), (element, shape));
                assert_eq!(array.ints().unwrap(), data.iter().map(|&v| v.into()).collect::<Vec<i64>>());
                // Another implementation agrees.
                let other = npyz::NpyFile::new(&bytes[..]).unwrap();
                assert_eq!(other.shape().len(), shape.len());
                assert_eq!(other.len(), count as u64);
            }
        }
        assert!(matches!(format_npy(Element::I8, &[1], &[128]), Err(NpyError::Range { element: 0, value: 128, .. })));
        assert!(matches!(format_npy(Element::I8, &[2], &[1]), Err(NpyError::Count { shape: 2, data: 1 })));
    }

    #[test]
    fn orders_and_types() {
        let big = file(
            "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }",
            &[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 255, 255],
        );
        let big = parse_npy(&big[..]).unwrap();
        assert_eq!(big.ints().unwrap(), [1, 3, 5, 2, 4, -1]);
        let real = file("{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}", &[0, 0, 128, 63, 0, 0, 0, 192]);
        assert_eq!(parse_npy(&real[..]).unwrap().values, Values::Float(vec![1.0, -2.0]));
        let bools = file("{'descr': '|b1', 'fortran_order': False, 'shape': ()}\n", &[1]);
        assert_eq!(parse_npy(&bools[..]).unwrap().ints().unwrap(), [1]);
    }

    #[test]
    fn bad_files_are_refused() {
        let header = |shape: &str| format!("{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(matches!(parse_npy(&file(&header("(4294967296, 4294967296)"), &[])[..]), Err(NpyError::TooLarge)));
        assert!(matches!(parse_npy(&file(&header("(99999999,)"), &[1, 2])[..]), Err(NpyError::Truncated)));
        assert!(matches!(parse_npy(&file(&header("(1,)"), &[0; 5])[..]), Err(NpyError::Trailing)));
        for shape in ["(-1,)", "(1", "1", "(a,)", "(1,,2)", "(+1,)", "((1,),)"] {
            assert!(matches!(parse_npy(&file(&header(shape), &[0; 4])[..]), Err(NpyError::Header(_))), "{shape}");
        }
        for descr in ["'|O'", "'<c8'", "[('a', '<i4')]", "'é'", "''", "'<f2'"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (), }}");
            assert!(matches!(parse_npy(&file(&text, &[0; 8])[..]), Err(NpyError::Element(_))), "{descr}");
        }
        let long = [&b"\x93NUMPY\x02\x00"[..], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(parse_npy(&long[..]), Err(NpyError::Header(_))));
        assert!(matches!(parse_npz(io::Cursor::new(b"PK not really")), Err(NpyError::Zip(_))));
    }

    #[test]
    fn no_damage_panics() {
        let good = format_npy(Element::I16, &[2, 2], &[1, 2, 3, 4]).unwrap();
        for end in 0..good.len() {
            assert!(parse_npy(&good[..end]).is_err());
        }
        let mut zip = npyz::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file("a.npy", npyz::zip::write::FileOptions::default()).unwrap();
        zip.write_all(&good).unwrap();
        let archive = zip.finish().unwrap().into_inner();
        assert_eq!(parse_npz(io::Cursor::new(&archive)).unwrap()["a"].ints().unwrap(), [1, 2, 3, 4]);
        for bytes in [&good, &archive] {
            for at in 0..bytes.len() {
                for flip in [1, 0x10, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= flip;
                    let _ = parse_npy(&damaged[..]);
                    let _ = parse_npz(io::Cursor::new(&damaged));
                }
            }
        }
    }
}
