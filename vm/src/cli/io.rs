//! Input and output files: `.npy` arrays and pictures, converted to and from the stored integers of a tensor.
use super::output::parent;
use super::{Failure, picture};
use ir::program::DType;
use ir::{Port, real, text};
use npyz::{NpyFile, TypeChar};
use std::path::{Path, PathBuf};

/// Bytes of an input file that are read, at most.
const MAX_FILE: u64 = 1 << 30;
/// Bytes of the header of an array, at most; NumPy writes 118 for ordinary ones.
const MAX_HEADER: usize = 16 << 10;

/// Whether a tensor may get several files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// One.
    One,
    /// One after the other, for several samples.
    Many,
}

/// Gives the files of repeated options to ports: in order, or by `NAME=FILE`. `ports` are those that may be named.
pub fn assign(
    option: &str,
    files: &[String],
    ports: &[(usize, &Port)],
    many: Files,
) -> Result<Vec<(usize, PathBuf)>, Failure> {
    let usage = |what: String| Failure::new(Failure::USAGE, format!("{option}: {what}"));
    let names = || ports.iter().map(|(_, p)| format!("`{}`", text::escape(&p.name))).collect::<Vec<_>>().join(", ");
    let mut given: Vec<(usize, PathBuf)> = Vec::new();
    let mut next = 0;
    for file in files {
        let named = ports
            .iter()
            .filter_map(|(i, p)| Some((*i, p.name.len(), file.strip_prefix(p.name.as_str())?.strip_prefix('=')?)))
            .max_by_key(|(_, length, _)| *length);
        let (index, path) = match named {
            Some((index, _, path)) => (index, path),
            None if file.contains('=') && !Path::new(file).exists() && option == "--input" => {
                return Err(usage(format!("`{file}` is no file, and no tensor has that name; there are {}", names())));
            }
            None => {
                if many == Files::Many && next == ports.len() {
                    next = 0;
                }
                let Some((index, _)) = ports.get(next) else {
                    return Err(usage(format!(
                        "`{file}` is one too many; this party has {}: {}",
                        ports.len(),
                        names()
                    )));
                };
                next += 1;
                (*index, file.as_str())
            }
        };
        if many == Files::One && given.iter().any(|(i, _)| *i == index) {
            return Err(usage(format!("`{file}` is the second file for one tensor")));
        }
        given.push((index, PathBuf::from(path)));
    }
    Ok(given)
}

/// Stored integers of an input, and what was done to the file to get them.
#[derive(Debug)]
pub struct Read {
    /// One number per element, sample after sample.
    pub data: Vec<i64>,
    /// The conversion, when there was one.
    pub note: Option<String>,
}

/// Reads a file as the input `port`.
pub fn read_input(path: &Path, port: &Port) -> Result<Read, Failure> {
    let bytes = super::load::read(path, MAX_FILE, Failure::INPUT)?;
    let read = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        from_picture(&bytes, port)
    } else if bytes.starts_with(b"\x93NUMPY") {
        from_npy(&bytes, port)
    } else {
        Err("neither a .npy array nor a PNG picture".to_owned())
    };
    let place = format!("{}: input `{}`", path.display(), text::escape(&port.name));
    match read {
        Ok(Read { data, note }) => Ok(Read { data, note: note.map(|n| format!("{place}: {n}")) }),
        Err(e) => Err(Failure::new(Failure::INPUT, format!("{place}: {e}"))),
    }
}

fn dims(shape: &[u32]) -> Vec<u64> {
    shape.iter().map(|d| (*d).into()).collect()
}

fn show(shape: &[u64]) -> String {
    let list: Vec<String> = shape.iter().map(u64::to_string).collect();
    if list.is_empty() { "scalar".to_owned() } else { list.join("x") }
}

fn from_npy(bytes: &[u8], port: &Port) -> Result<Read, String> {
    let header = match bytes.get(6..12) {
        Some([1, _, a, b, _, _]) => usize::from(u16::from_le_bytes([*a, *b])),
        Some([_, _, a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => return Err("the file ends within its header".to_owned()),
    };
    if header > MAX_HEADER || header > bytes.len() {
        return Err("the header is too long".to_owned());
    }
    const HEADER: &str = "the header is not that of an array of numbers; write it with `numpy.save`";
    let start = if bytes[6] == 1 { 10 } else { 12 };
    if !bytes.get(start..start + header).is_some_and(is_plain) {
        return Err(HEADER.to_owned());
    }
    // What the parser says quotes the file, which may be secret.
    let npy = NpyFile::new(bytes).map_err(|_| HEADER)?;
    let want = dims(&port.shape);
    let shape = npy.shape().to_vec();
    let batch_of_one = want.first() == Some(&1);
    let unbatched = batch_of_one && shape == want[1..];
    // Several samples stand one after the other along the first axis.
    let samples = batch_of_one && shape.len() == want.len() && shape[0] > 1 && shape[1..] == want[1..];
    if shape != want && !unbatched && !samples {
        return Err(format!("shape {}, the model takes {}", show(&shape), show(&want)));
    }
    if npy.order() == npyz::Order::Fortran && shape.len() > 1 {
        return Err("Fortran order; save it with `numpy.ascontiguousarray`".to_owned());
    }
    let npyz::DType::Plain(kind) = npy.dtype() else { return Err("an array of structures".to_owned()) };
    let failed = |e: std::io::Error| format!("the file ends within the array ({e})");
    let (code, size) = (kind.type_char(), kind.size_field());
    let own = match port.dtype {
        DType::I8 => (TypeChar::Int, 1),
        DType::U8 => (TypeChar::Uint, 1),
        DType::I16 => (TypeChar::Int, 2),
        DType::I32 => (TypeChar::Int, 4),
        DType::I64 => (TypeChar::Int, 8),
        DType::Bool => (TypeChar::Bool, 1),
    };
    let mut notes = Vec::new();
    if unbatched {
        notes.push(format!("taken as a batch of one, shape {}", show(&want)));
    }
    let data = match (code, size) {
        pair if pair == own && !port.float => match port.dtype {
            DType::I8 => npy.into_vec::<i8>().map(widen),
            DType::U8 => npy.into_vec::<u8>().map(widen),
            DType::I16 => npy.into_vec::<i16>().map(widen),
            DType::I32 => npy.into_vec::<i32>().map(widen),
            DType::I64 => npy.into_vec::<i64>(),
            DType::Bool => npy.into_vec::<bool>().map(widen),
        }
        .map_err(failed)?,
        (TypeChar::Float, 4 | 8) => {
            let reals: Vec<f32> = match size {
                4 => npy.into_vec::<f32>().map_err(failed)?,
                _ => npy.into_vec::<f64>().map_err(failed)?.into_iter().map(|x| x as f32).collect(),
            };
            let (data, note) = quantize(reals.into_iter(), port)?;
            // What the model itself does needs no word.
            notes.extend((!port.float).then(|| format!("floats {note}")));
            data
        }
        _ if port.float => return Err(format!("elements of type {kind}, the model takes floats")),
        _ => return Err(format!("elements of type {kind}, the model takes {} or floats", port.dtype.name())),
    };
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Read { data, note })
}

/// Whether a header is one dictionary with one tuple in it. The parser takes any Python literal, and time exponential in how
/// deep it is nested.
fn is_plain(header: &[u8]) -> bool {
    let count = |c: u8| header.iter().filter(|b| **b == c).count();
    let known = |b: &u8| b.is_ascii_alphanumeric() || b"'\"{}():,_<>|= \n".contains(b);
    header.iter().all(known) && count(b'{') == 1 && count(b'(') == 1
}

fn widen<T: Into<i64>>(v: Vec<T>) -> Vec<i64> {
    v.into_iter().map(Into::into).collect()
}

/// Quantizes as the model does, or would.
fn quantize(reals: impl Iterator<Item = f32>, port: &Port) -> Result<(Vec<i64>, String), String> {
    let Port { scale, zero_point, .. } = *port;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(format!("the tensor has no scale, give {} values", port.dtype.name()));
    }
    let (low, high) = port.dtype.range();
    let mut clamped = 0usize;
    let one = |x: f32| {
        if x.is_nan() {
            return Err("the values contain NaN".to_owned());
        }
        let q = real::quantize(x, scale, zero_point);
        clamped += usize::from(!(low..=high).contains(&q));
        Ok(q.clamp(low, high))
    };
    let data = reals.map(one).collect::<Result<Vec<_>, _>>()?;
    let limits = if clamped > 0 { format!(", {clamped} of {} values clamped", data.len()) } else { String::new() };
    Ok((data, format!("quantized with scale {scale} and zero point {zero_point}{limits}")))
}

/// Height, width, channels of a tensor that can hold a picture.
fn picture_shape(shape: &[u32]) -> Option<(usize, usize, usize)> {
    let s: Vec<usize> = shape.iter().map(|d| *d as usize).collect();
    let found = match *s {
        [1, h, w, c] => (h, w, c),
        [1, h, w] => (h, w, 1),
        [h, w, c] => (h, w, c),
        [h, w] => (h, w, 1),
        _ => return None,
    };
    (found.0 > 0 && found.1 > 0 && matches!(found.2, 1 | 3)).then_some(found)
}

fn from_picture(bytes: &[u8], port: &Port) -> Result<Read, String> {
    let (h, w, c) = picture_shape(&port.shape)
        .ok_or_else(|| format!("a picture does not fit the shape {}", show(&dims(&port.shape))))?;
    let original = picture::decode_png(bytes)?;
    let mut steps = vec![format!("picture of {}x{}", original.width, original.height)];
    if (original.width, original.height) != (w, h) {
        steps.push(format!("resized to {w}x{h}"));
    }
    if original.channels != c {
        steps.push(if c == 1 { "made grey".to_owned() } else { "made RGB".to_owned() });
    }
    let pixels = original.resize(w, h).with_channels(c).data;
    let (low, high) = port.dtype.range();
    let real = |q: i64| (q as f64 - f64::from(port.zero_point)) * f64::from(port.scale);
    let (reals, range): (fn(f32) -> f32, &str) = match (real(low), real(high)) {
        (_, high) if high >= 64.0 => (|p| p, "[0, 255]"),
        (low, _) if low <= -0.5 => (|p| p / 127.5 - 1.0, "[-1, 1]"),
        _ => (|p| p / 255.0, "[0, 1]"),
    };
    let (data, note) = quantize(pixels.into_iter().map(reals), port)?;
    steps.push(format!("pixels mapped to {range} and {note}"));
    Ok(Read { data, note: Some(steps.join(", ")) })
}

/// The bytes of an array as NumPy writes them, floats where the model has them. Several samples stand one after the other
/// along the first axis, or, where the tensor has no axis of length 1 there, along a new one.
pub fn format_npy(port: &Port, data: &[i64]) -> Vec<u8> {
    let samples = data.len() as u64 / super::load::elements(&port.shape).max(1);
    let mut dims: Vec<u64> = dims(&port.shape);
    match dims.first_mut() {
        _ if samples <= 1 => {}
        Some(first @ 1) => *first = samples,
        _ => dims.insert(0, samples),
    }
    let code = match port.dtype {
        _ if port.float => "<f4",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::Bool => "|b1",
    };
    let mut shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    shape.truncate(shape.len().saturating_sub(if dims.len() == 1 { 1 } else { 2 }));
    let mut text = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Data starts at a multiple of 64.
    text.extend(std::iter::repeat_n(' ', 63 - (10 + text.len()) % 64));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).expect("programs have a few dimensions").to_le_bytes());
    bytes.extend(text.as_bytes());
    if port.float {
        let real = |v: &i64| real::dequantize(*v, port.scale, port.zero_point);
        data.iter().for_each(|v| bytes.extend_from_slice(&real(v).to_le_bytes()));
        return bytes;
    }
    let width = match port.dtype {
        DType::I8 | DType::U8 | DType::Bool => 1,
        DType::I16 => 2,
        DType::I32 => 4,
        DType::I64 => 8,
    };
    data.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()[..width]));
    bytes
}

/// Refuses a place where no file can be written.
pub fn check_target(path: &Path) -> Result<(), Failure> {
    let parent = parent(path);
    if parent.is_dir() && path.file_name().is_some() && !path.is_dir() {
        return Ok(());
    }
    Err(Failure::new(Failure::CONFIG, format!("{}: cannot be written there", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Party;

    fn port(dtype: DType, shape: &[u32], scale: f32, zero_point: i32) -> Port {
        Port { name: "x".to_owned(), dtype, shape: shape.to_vec(), scale, zero_point, party: Party(1), float: false }
    }

    fn testdata(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(name)).expect("testdata")
    }

    #[test]
    fn arrays_are_written_as_numpy_does_and_read_back() {
        for (name, dtype, shape) in [
            ("digits.input_0.npy", DType::I8, &[1, 8, 8, 1][..]),
            ("digits.output_0.npy", DType::I8, &[1, 10]),
            ("digits_u8.output_0.npy", DType::U8, &[1, 10]),
        ] {
            let (bytes, port) = (testdata(name), port(dtype, shape, 1.0, 0));
            let read = from_npy(&bytes, &port).expect(name);
            assert!(read.note.is_none());
            assert_eq!(format_npy(&port, &read.data), bytes, "{name}");
        }
        for (dtype, data) in [(DType::I16, vec![-300, 300]), (DType::I32, vec![-70_000, i64::from(i32::MAX)])] {
            for shape in [&[2][..], &[1, 2], &[2, 1, 1]] {
                let port = port(dtype, shape, 1.0, 0);
                assert_eq!(from_npy(&format_npy(&port, &data), &port).expect("own").data, data);
            }
        }
    }

    #[test]
    fn a_missing_batch_is_added_and_other_shapes_are_refused() {
        let four = port(DType::I8, &[1, 2, 2, 1], 1.0, 0);
        let bytes = |shape: &[u32]| format_npy(&port(DType::I8, shape, 1.0, 0), &[1, 2, 3, 4]);
        assert!(from_npy(&bytes(&[2, 2, 1]), &four).expect("unbatched").note.is_some());
        for shape in [&[4][..], &[2, 2], &[1, 2, 2], &[2, 2, 1, 1]] {
            assert!(from_npy(&bytes(shape), &four).expect_err("other shape").contains("shape"));
        }
        let unsigned = format_npy(&port(DType::U8, &[1, 2, 2, 1], 1.0, 0), &[1, 2, 3, 4]);
        assert!(from_npy(&unsigned, &four).expect_err("other type").contains("int8"));
    }

    #[test]
    fn samples_stand_along_the_first_axis() {
        let one = port(DType::I8, &[1, 2], 1.0, 0);
        let three: Vec<i64> = (1..=6).collect();
        let bytes = format_npy(&one, &three);
        assert_eq!(bytes, format_npy(&port(DType::I8, &[3, 2], 1.0, 0), &three));
        assert_eq!(from_npy(&bytes, &one).expect("three samples").data, three);
        let flat = port(DType::I8, &[2], 1.0, 0);
        assert_eq!(format_npy(&flat, &three), bytes);
        assert!(from_npy(&bytes, &flat).is_err());
    }

    #[test]
    fn damaged_arrays_are_refused() {
        let port = port(DType::I8, &[1, 8, 8, 1], 1.0, 0);
        let good = testdata("digits.input_0.npy");
        for cut in 6..good.len() {
            assert!(from_npy(&good[..cut], &port).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn floats_are_quantized() {
        let p = port(DType::I8, &[4], 0.5, 10);
        let (data, note) = quantize([0.25, -0.25, 1e30, 1.0].into_iter(), &p).expect("numbers");
        assert_eq!(data, [11, 9, 127, 12]);
        assert!(note.contains("1 of 4 values clamped"), "{note}");
        assert!(quantize([f32::NAN].into_iter(), &p).is_err());
        assert!(quantize([1.0].into_iter(), &port(DType::I8, &[1], 0.0, 0)).is_err());
    }

    #[test]
    fn the_picture_is_the_recorded_input() {
        let p = port(DType::I8, &[1, 8, 8, 1], 1.0 / 255.0, -128);
        let recorded = from_npy(&testdata("digits.input_0.npy"), &p).expect("recorded").data;
        let read = from_picture(&testdata("digits.png"), &p).expect("picture");
        assert_eq!(read.data, recorded);
        assert!(read.note.is_some_and(|n| n.contains("[0, 1]")));
    }

    #[test]
    fn the_real_range_chooses_the_mapping() {
        let note = |scale, zero| {
            let p = port(DType::U8, &[1, 4, 4, 3], scale, zero);
            from_picture(&testdata("digits.png"), &p).expect("picture").note.expect("a note")
        };
        assert!(note(1.0 / 128.0, 128).contains("[-1, 1]"));
        assert!(note(1.0 / 255.0, 0).contains("[0, 1]"));
        assert!(note(1.0, 0).contains("[0, 255]"));
    }

    #[test]
    fn files_go_to_ports_in_order_or_by_name() {
        let named = |name: &str| Port { name: name.to_owned(), ..port(DType::I8, &[1], 1.0, 0) };
        let (a, b) = (named("a"), named("a=b"));
        let ports = [(0, &a), (2, &b)];
        let give = |files: &[&str]| {
            let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
            assign("--input", &files, &ports, Files::One).map_err(|e| e.code)
        };
        let paths = |list: &[(usize, &str)]| Ok(list.iter().map(|(i, p)| (*i, PathBuf::from(p))).collect());
        assert_eq!(give(&["x", "y"]), paths(&[(0, "x"), (2, "y")]));
        assert_eq!(give(&["a=b=y", "a=x"]), paths(&[(2, "y"), (0, "x")]));
        assert_eq!(give(&["x", "y", "z"]), Err(Failure::USAGE));
        assert_eq!(give(&["a=x", "a=y"]), Err(Failure::USAGE));
        assert_eq!(give(&["c=x"]), Err(Failure::USAGE));
        let files = ["x", "y", "z", "a=b=w"].map(str::to_owned);
        let given = assign("--input", &files, &ports, Files::Many).expect("two samples");
        assert_eq!(given.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 2, 0, 2]);
    }
}
