//! Pictures as input: decoded, resized, converted to the channels of a tensor. PNG only.
use std::io::Cursor;

/// Most pixels of a picture.
const MAX_PIXELS: u64 = 64 << 20;
/// Most bytes the decoder takes for its own buffers.
const MAX_DECODER: usize = 256 << 20;

/// A picture with values in 0..=255; fractions come from 16-bit samples and from resizing.
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Row by row, pixel by pixel.
    pub data: Vec<f32>,
}

/// Decodes a PNG; an alpha channel is dropped.
pub fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MAX_DECODER });
    // Palettes become RGB, fewer than 8 bits become 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}x{height} pixels, at most {MAX_PIXELS} are read"));
    }
    let size = reader.output_buffer_size().ok_or("too large")?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(|e| e.to_string())?;
    samples.truncate(frame.buffer_size());
    let stored = frame.color_type.samples();
    let channels = if stored >= 3 { 3 } else { 1 };
    let values: Vec<f32> = match frame.bit_depth {
        png::BitDepth::Sixteen => {
            samples.as_chunks::<2>().0.iter().map(|b| f32::from(u16::from_be_bytes(*b)) / 257.0).collect()
        }
        _ => samples.into_iter().map(f32::from).collect(),
    };
    let data = values.chunks_exact(stored).flat_map(|pixel| &pixel[..channels]).copied().collect();
    Ok(Picture { width: width as usize, height: height as usize, channels, data })
}

impl Picture {
    /// Resizes bilinearly, pixel centres at halves, as `tf.image.resize` does.
    pub fn resize(self, width: usize, height: usize) -> Picture {
        if (self.width, self.height) == (width, height) {
            return self;
        }
        let (columns, rows) = (weights(self.width, width), weights(self.height, height));
        let mut data = Vec::with_capacity(width * height * self.channels);
        for (top, bottom, down) in &rows {
            for (left, right, along) in &columns {
                for c in 0..self.channels {
                    let at = |row: usize, column: usize| self.data[(row * self.width + column) * self.channels + c];
                    let mix = |row: usize| at(row, *left) + (at(row, *right) - at(row, *left)) * along;
                    data.push(mix(*top) + (mix(*bottom) - mix(*top)) * down);
                }
            }
        }
        Picture { width, height, channels: self.channels, data }
    }

    /// Converts between grey and RGB; grey is the luma of ITU-R 601.
    pub fn with_channels(self, channels: usize) -> Picture {
        let data = match (self.channels, channels) {
            (3, 1) => self.data.chunks_exact(3).map(|p| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]).collect(),
            (1, 3) => self.data.iter().flat_map(|v| [*v; 3]).collect(),
            _ => return self,
        };
        Picture { channels, data, ..self }
    }
}

/// For each new position the two old ones and the share of the second.
fn weights(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let ratio = from as f64 / to as f64;
    let one = |i: usize| {
        let at = ((i as f64 + 0.5) * ratio - 0.5).clamp(0.0, (from - 1) as f64);
        let low = at as usize;
        (low, (low + 1).min(from - 1), (at - low as f64) as f32)
    };
    (0..to).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(color: png::ColorType, depth: png::BitDepth, size: (u32, u32), data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == png::ColorType::Indexed {
            encoder.set_palette(vec![1, 2, 3, 200, 100, 50]);
        }
        encoder.write_header().and_then(|mut w| w.write_image_data(data)).expect("in memory");
        bytes
    }

    #[test]
    fn all_kinds_of_png() {
        use png::BitDepth::{Eight, One, Sixteen};
        use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        let cases: [(_, _, &[u8], usize, &[f32]); 8] = [
            (Grayscale, Eight, &[0, 255], 1, &[0.0, 255.0]),
            (Grayscale, One, &[0b0100_0000], 1, &[0.0, 255.0]),
            (Grayscale, Sixteen, &[1, 1, 255, 255], 1, &[1.0, 255.0]),
            (GrayscaleAlpha, Eight, &[7, 0, 9, 255], 1, &[7.0, 9.0]),
            (Rgb, Eight, &[1, 2, 3, 4, 5, 6], 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 9], 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (Rgb, Sixteen, &[1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6], 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (Indexed, One, &[0b0100_0000], 3, &[1.0, 2.0, 3.0, 200.0, 100.0, 50.0]),
        ];
        for (color, depth, data, channels, want) in cases {
            let p = decode_png(&encode(color, depth, (2, 1), data)).expect("a picture");
            assert_eq!((p.width, p.height, p.channels, &*p.data), (2, 1, channels, want), "{color:?} {depth:?}");
        }
    }

    #[test]
    fn damaged_and_huge_pictures_are_refused() {
        let good = encode(png::ColorType::Grayscale, png::BitDepth::Eight, (2, 1), &[0, 255]);
        for cut in 0..good.len() - 16 {
            assert!(decode_png(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = good.clone();
        huge[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        assert!(decode_png(&huge).is_err());
    }

    #[test]
    fn resizing_mixes_neighbours() {
        let p = Picture { width: 2, height: 1, channels: 1, data: vec![0.0, 100.0] };
        assert_eq!(p.resize(4, 2).data, [0.0, 25.0, 75.0, 100.0, 0.0, 25.0, 75.0, 100.0]);
        let grey = Picture { width: 1, height: 1, channels: 3, data: vec![100.0; 3] }.with_channels(1);
        assert!((grey.data[0] - 100.0).abs() < 1e-3);
        assert_eq!(grey.with_channels(3).data.len(), 3);
    }
}
