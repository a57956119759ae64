//! One thing found wrong, before operator and tensor names are filled in.

use super::Category;

/// One thing found wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) category: Category,
    pub(super) tensor: Option<usize>,
    pub(super) reason: String,
    pub(super) next_step: String,
}

impl Fault {
    pub(super) fn new(
        category: Category,
        code: &'static str,
        reason: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Fault {
        Fault { code, category, tensor: None, reason: reason.into(), next_step: next_step.into() }
    }

    /// Names the tensor, unless one is named already.
    pub(super) fn at(mut self, tensor: usize) -> Fault {
        self.tensor.get_or_insert(tensor);
        self
    }
}

/// The file contradicts itself.
pub(super) fn damaged(code: &'static str, reason: impl Into<String>) -> Fault {
    Fault::new(Category::Damaged, code, reason, "export or fetch the model again")
}

/// Meaningful, but not for us.
pub(super) fn unsupported(code: &'static str, reason: impl Into<String>, next_step: impl Into<String>) -> Fault {
    Fault::new(Category::Unsupported, code, reason, next_step)
}

/// Too large.
pub(super) fn limit(code: &'static str, reason: impl Into<String>) -> Fault {
    Fault::new(Category::Limit, code, reason, "use a smaller model or batch")
}

/// Why an operator could not be imported.
#[derive(Debug)]
pub(super) enum Stop {
    /// Because of a tensor that has been reported.
    Known,
    /// For a reason not yet reported.
    New(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::New(fault)
    }
}
