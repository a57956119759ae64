//! Results for people: the most likely classes, or a summary of a tensor that is no list of classes.
use super::Failure;
use ir::{Port, text};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Bytes of a list of labels, at most.
const MAX_LABELS: u64 = 16 << 20;

/// An output as printed.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Summary {
    /// Tensor name, escaped.
    pub name: String,
    /// Lines to print.
    pub lines: Vec<String>,
}

/// How results are shown.
pub struct Show {
    labels: Vec<String>,
    top: usize,
}

impl Show {
    /// Reads the labels. `None` when the user wants the output file only.
    pub fn new(labels: Option<&Path>, top: Option<usize>, to_file: bool) -> Result<Option<Show>, Failure> {
        let list = match labels {
            None => Vec::new(),
            Some(path) => {
                let bytes = super::load::read(path, MAX_LABELS, Failure::INPUT)?;
                String::from_utf8_lossy(&bytes).lines().map(|l| text::escape(l.trim_end())).collect()
            }
        };
        let wanted = labels.is_some() || top.is_some() || !to_file;
        let top = top.unwrap_or(if labels.is_some() { 5 } else { 1 });
        Ok(wanted.then_some(Show { labels: list, top }))
    }

    /// Describes one output.
    pub fn summary(&self, port: &Port, data: &[i64]) -> Summary {
        let real = |q: i64| (q as f64 - f64::from(port.zero_point)) * f64::from(port.scale);
        let classes = port.shape.last().is_some_and(|d| *d as usize == data.len() && data.len() > 1);
        let lines = if classes {
            let mut order: Vec<usize> = (0..data.len()).collect();
            order.sort_by_key(|i| std::cmp::Reverse(data[*i]));
            let line = |i: &usize| {
                let label = self.labels.get(*i).map_or(String::new(), |l| format!("  {l}"));
                format!("{i:>6}  {:>10.6}{label}", real(data[*i]))
            };
            order.iter().take(self.top).map(line).collect()
        } else if let [only] = data {
            vec![format!("{:.6}", real(*only))]
        } else {
            let (low, high) = (data.iter().min().copied(), data.iter().max().copied());
            let range = low.zip(high).map_or(String::new(), |(l, h)| format!(", {:.6} to {:.6}", real(l), real(h)));
            vec![format!("{} values{range}; write them with `--output`", data.len())]
        };
        Summary { name: text::escape(&port.name), lines }
    }
}

/// Prints summaries on standard output.
pub fn print(summaries: &[Summary]) {
    for s in summaries {
        say!("{}", s.name);
        s.lines.iter().for_each(|l| say!("{l}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Party;
    use ir::program::DType;

    #[test]
    fn classes_come_in_order_with_labels_and_real_values() {
        let show = Show { labels: vec!["cat".to_owned(), "dog".to_owned()], top: 2 };
        let port = Port {
            name: "out".to_owned(),
            dtype: DType::I8,
            shape: vec![1, 3],
            scale: 0.5,
            zero_point: -2,
            party: Party(1),
            float: false,
        };
        let lines = show.summary(&port, &[0, 6, 1]).lines;
        assert_eq!(lines, ["     1    4.000000  dog", "     2    1.500000"]);
        let single = Port { shape: vec![1], ..port };
        assert_eq!(show.summary(&single, &[0]).lines, ["1.000000"]);
    }
}
