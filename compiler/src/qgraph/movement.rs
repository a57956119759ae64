//! Where an operator that only copies reads each element of its result.

/// How stored integers move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// CONCATENATION: the result is made of `rows` rows, each the operands' rows in order.
    Concat {
        /// Rows of every operand and of the result.
        rows: usize,
    },
    /// A strided view of the one operand: the result, seen with the sizes `dims`, reads at `start + Σ index·stride`.
    View {
        /// Element of the operand that comes first.
        start: usize,
        /// Sizes, the last fastest; more of them than the result has axes where one axis is repeated.
        dims: Vec<usize>,
        /// Distance in the operand, one for each size.
        strides: Vec<isize>,
    },
}

impl Movement {
    /// For each element of the result, in order: operand and element. `None` if the operands' lengths do not fit.
    pub fn sources(&self, lengths: &[usize]) -> Option<Vec<(usize, usize)>> {
        match self {
            Movement::Concat { rows } => {
                if lengths.iter().any(|length| length.checked_rem(*rows) != Some(0)) {
                    return None;
                }
                let row = |row: usize| {
                    let part = move |(operand, length): (usize, &usize)| {
                        let width = length / rows;
                        (row * width..(row + 1) * width).map(move |at| (operand, at))
                    };
                    lengths.iter().enumerate().flat_map(part)
                };
                Some((0..*rows).flat_map(row).collect())
            }
            Movement::View { start, dims, strides } => {
                let [length] = lengths else { return None };
                let mut all = vec![isize::try_from(*start).ok()?];
                for (&size, &stride) in dims.iter().zip(strides) {
                    let size = isize::try_from(size).ok()?;
                    all = all.into_iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect();
                }
                all.into_iter().map(|at| usize::try_from(at).ok().filter(|at| at < length).map(|at| (0, at))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_in_order_and_inside() {
        let concat = Movement::Concat { rows: 2 };
        assert_eq!(concat.sources(&[2, 4]), Some(vec![(0, 0), (1, 0), (1, 1), (0, 1), (1, 2), (1, 3)]));
        assert_eq!(concat.sources(&[3]), None);
        let back = Movement::View { start: 5, dims: vec![2, 2], strides: vec![-3, -1] };
        assert_eq!(back.sources(&[6]), Some(vec![(0, 5), (0, 4), (0, 2), (0, 1)]));
        assert_eq!(back.sources(&[5]), None);
    }
}
