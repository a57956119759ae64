//! What a program does otherwise than programs usually do. It stands in the head of the program, so parties that run it have agreed.

/// Ways to compute that change who knows what, or what comes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes {
    /// Weights, biases and constant operands are constants of the program.
    pub public_weights: bool,
    /// Requantized values may be off by one.
    pub probabilistic: bool,
    /// Multipliers and zero points belong to the model owner, like weights.
    pub private_scales: bool,
}

/// Field and value in texts, in the order of the bits in files.
const NAMES: [(&str, &str); 3] = [("weights", "public"), ("rounding", "probabilistic"), ("scales", "private")];

impl Modes {
    fn flags(self) -> [bool; 3] {
        [self.public_weights, self.probabilistic, self.private_scales]
    }

    fn of([public_weights, probabilistic, private_scales]: [bool; 3]) -> Modes {
        Modes { public_weights, probabilistic, private_scales }
    }

    /// One bit for each, in files.
    pub fn code(self) -> u8 {
        (0..).zip(self.flags()).map(|(i, on)| u8::from(on) << i).sum()
    }

    /// From the byte in a file.
    pub fn from_code(code: u8) -> Option<Modes> {
        (code >> NAMES.len() == 0).then(|| Modes::of([0, 1, 2].map(|i| code >> i & 1 == 1)))
    }

    /// Each as it is written on a command line, without the dashes; nothing for a program as usual.
    pub fn names(self) -> Vec<String> {
        self.named().map(|(field, value)| format!("{field}={value}")).collect()
    }

    /// Field and value of each.
    pub fn named(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMES.into_iter().zip(self.flags()).filter_map(|(name, on)| on.then_some(name))
    }

    /// With the one of that field, unless it is there or there is none.
    pub fn with(self, field: &str, value: &str) -> Option<Modes> {
        let i = NAMES.iter().position(|name| *name == (field, value))?;
        let mut flags = self.flags();
        (!std::mem::replace(&mut flags[i], true)).then(|| Modes::of(flags))
    }

    /// What the parties must know before they run it, for the line about security; nothing for a program as usual.
    pub fn warning(self) -> String {
        let mut s = String::new();
        if self.public_weights {
            s += "; weights are public and in the program";
        }
        if self.probabilistic {
            s += "; rounding is probabilistic: results differ from TFLite's and tell a little about what was rounded";
        }
        if self.private_scales {
            s += "; multipliers and zero points between input and output are secret";
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_read_back() {
        for code in 0..8 {
            let modes = Modes::from_code(code).expect("a code");
            assert_eq!(modes.code(), code);
            let again = modes.named().try_fold(Modes::default(), |m, (field, value)| m.with(field, value));
            assert_eq!(again, Some(modes));
            assert_eq!(modes.warning().is_empty(), code == 0);
        }
        assert!(Modes::from_code(8).is_none());
        assert!(Modes::default().with("weights", "private").is_none());
        let twice = Modes { public_weights: true, ..Modes::default() };
        assert!(twice.with("weights", "public").is_none());
    }
}
