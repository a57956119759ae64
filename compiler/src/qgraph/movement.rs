//! Where an operator that only copies takes each element of its result from.

/// How stored integers move. Operands and results are rows of elements, last axis fastest.
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
    /// The one operand is `rows` rows of `size` slices; each row of the result has the slices of `index` in order.
    Gather {
        /// Rows of the operand and of the result.
        rows: usize,
        /// Slices of a row of the operand.
        size: usize,
        /// Slices of a row of the result; `None` is one that holds `value`.
        index: Vec<Option<usize>>,
        /// Stored integer of what is not in the operand.
        value: i32,
    },
    /// Each of `rows` rows of the one operand is surrounded by `value`.
    Fill {
        /// Rows of the operand and of the result.
        rows: usize,
        /// Elements before each row.
        before: usize,
        /// Elements after each row.
        after: usize,
        /// Stored integer.
        value: i32,
    },
    /// One after the other; each takes what the one before made, the first takes the operands.
    Chain(Vec<Movement>),
}

impl Movement {
    /// The result, in order; `fill` makes an element of a stored integer. `None` if the operands do not fit.
    pub fn apply<T: Clone>(&self, operands: &[&[T]], fill: &impl Fn(i32) -> T) -> Option<Vec<T>> {
        match self {
            Movement::Concat { rows } => {
                if operands.iter().any(|part| part.len().checked_rem(*rows) != Some(0)) {
                    return None;
                }
                let row = |row: usize| {
                    operands.iter().flat_map(move |part| {
                        let width = part.len() / rows;
                        part[row * width..(row + 1) * width].iter().cloned()
                    })
                };
                Some((0..*rows).flat_map(row).collect())
            }
            Movement::View { start, dims, strides } => {
                let [x] = operands else { return None };
                let mut all = vec![isize::try_from(*start).ok()?];
                for (&size, &stride) in dims.iter().zip(strides) {
                    let size = isize::try_from(size).ok()?;
                    all = all.into_iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect();
                }
                all.into_iter().map(|at| usize::try_from(at).ok().and_then(|at| x.get(at)).cloned()).collect()
            }
            Movement::Gather { rows, size, index, value } => {
                let [x] = operands else { return None };
                let slices = rows.checked_mul(*size).filter(|slices| x.len().checked_rem(*slices) == Some(0))?;
                let inner = x.len() / slices;
                let mut out = Vec::with_capacity(rows * index.len() * inner);
                for row in x.chunks(size * inner) {
                    for at in index {
                        match at {
                            Some(at) => out.extend_from_slice(row.get(at * inner..(at + 1) * inner)?),
                            None => out.resize(out.len() + inner, fill(*value)),
                        }
                    }
                }
                Some(out)
            }
            Movement::Fill { rows, before, after, value } => {
                let [x] = operands else { return None };
                if x.len().checked_rem(*rows) != Some(0) {
                    return None;
                }
                let mut out = Vec::with_capacity(x.len() + rows * (before + after));
                for row in x.chunks(x.len() / rows) {
                    out.resize(out.len() + before, fill(*value));
                    out.extend_from_slice(row);
                    out.resize(out.len() + after, fill(*value));
                }
                Some(out)
            }
            Movement::Chain(steps) => {
                let (first, rest) = steps.split_first()?;
                let made = first.apply(operands, fill)?;
                rest.iter().try_fold(made, |x, step| step.apply(&[&x], fill))
            }
        }
    }
}

/// A view's sizes and distances with axes of size 1 left out and neighbours that are walked as one joined.
pub fn joined(dims: &[usize], strides: &[isize]) -> (Vec<usize>, Vec<isize>) {
    let (mut sizes, mut steps): (Vec<usize>, Vec<isize>) = (Vec::new(), Vec::new());
    for (&size, &step) in dims.iter().zip(strides).filter(|(size, _)| **size != 1) {
        match (sizes.last_mut(), steps.last_mut()) {
            (Some(last), Some(distance)) if *distance == step * size.cast_signed() => {
                *last *= size;
                *distance = step;
            }
            _ => {
                sizes.push(size);
                steps.push(step);
            }
        }
    }
    (sizes, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(movement: &Movement, lengths: &[usize]) -> Option<Vec<i32>> {
        let operands: Vec<Vec<i32>> =
            (0..).zip(lengths).map(|(operand, len)| (0..).take(*len).map(|at| operand * 10 + at).collect()).collect();
        let operands: Vec<&[i32]> = operands.iter().map(Vec::as_slice).collect();
        movement.apply(&operands, &|value| value)
    }

    #[test]
    fn elements_are_in_order_and_inside() {
        let concat = Movement::Concat { rows: 2 };
        assert_eq!(numbers(&concat, &[2, 4]), Some(vec![0, 10, 11, 1, 12, 13]));
        assert_eq!(numbers(&concat, &[3]), None);
        let back = Movement::View { start: 5, dims: vec![2, 2], strides: vec![-3, -1] };
        assert_eq!(numbers(&back, &[6]), Some(vec![5, 4, 2, 1]));
        assert_eq!(numbers(&back, &[5]), None);
        let gather = Movement::Gather { rows: 2, size: 2, index: vec![Some(1), None, Some(1)], value: -7 };
        assert_eq!(numbers(&gather, &[4]), Some(vec![1, -7, 1, 3, -7, 3]));
        assert_eq!(numbers(&gather, &[3]), None);
        let fill = Movement::Fill { rows: 2, before: 1, after: 0, value: 9 };
        assert_eq!(numbers(&fill, &[4]), Some(vec![9, 0, 1, 9, 2, 3]));
        let both = Movement::Chain(vec![fill, Movement::View { start: 5, dims: vec![6], strides: vec![-1] }]);
        assert_eq!(numbers(&both, &[4]), Some(vec![3, 2, 9, 1, 0, 9]));
    }

    #[test]
    fn axes_walked_as_one_are_joined() {
        assert_eq!(joined(&[2, 1, 3, 4], &[12, 7, 4, 1]), (vec![24], vec![1]));
        assert_eq!(joined(&[2, 3], &[1, 2]), (vec![2, 3], vec![1, 2]));
        assert_eq!(joined(&[2, 2], &[-2, -1]), (vec![4], vec![-1]));
        assert_eq!(joined(&[3, 2], &[0, 0]), (vec![6], vec![0]));
    }
}
