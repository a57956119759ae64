//! Who owns which input, and who receives the outputs: the only party that sees an input in the clear shares it, and outputs
//! are opened to the receiver alone.
use super::{DATA_OWNER, LowerError, MODEL_OWNER};
use crate::profile::Profile;
use ir::text::escape;
use ir::{Interface, Party};

/// What a user says about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owners {
    /// By name, or by number where no input has that name; the others belong to [`DATA_OWNER`].
    pub inputs: Vec<(String, Party)>,
    /// Of every output.
    pub receiver: Party,
    /// Of the weights: [`MODEL_OWNER`], or [`Party::CLIENT`] where their owner does not compute.
    pub weights: Party,
}

impl Default for Owners {
    fn default() -> Self {
        Owners { inputs: vec![], receiver: DATA_OWNER, weights: MODEL_OWNER }
    }
}

impl Owners {
    /// Those of a program.
    pub fn of(face: &Interface) -> Owners {
        let inputs = (0..).zip(&face.inputs).map(|(i, port): (u32, _)| (i.to_string(), port.party)).collect();
        let receiver = face.outputs.first().map_or(DATA_OWNER, |port| port.party);
        Owners { inputs, receiver, weights: face.weight_owner }
    }

    /// Writes it into the interface of a program.
    pub fn apply(&self, face: &mut Interface, profile: &Profile) -> Result<(), LowerError> {
        let exists = |party: Party| match party {
            _ if Some(party) == profile.dealer => {
                Err(LowerError::Owner(format!("{party} deals in {}: it owns and receives nothing", profile.name)))
            }
            Party::CLIENT if profile.dealer.is_some() => {
                Err(LowerError::Owner(format!("{} has no clients: its dealer would have to receive", profile.name)))
            }
            Party::CLIENT if profile.scheme.additive => Err(LowerError::Owner(format!(
                "{} has no clients: what is made ahead is for owners that compute",
                profile.name
            ))),
            Party::CLIENT if profile.scheme.echo => Err(LowerError::Owner(format!(
                "{} has no clients: an owner's sharing is compared among those who compute",
                profile.name
            ))),
            Party(p) if p < profile.parties || party == Party::CLIENT => Ok(()),
            _ => Err(LowerError::Owner(format!("{party} does not exist, {} has {}", profile.name, profile.parties))),
        };
        let mut named = vec![false; face.inputs.len()];
        for (name, party) in &self.inputs {
            exists(*party)?;
            let by_name = face.inputs.iter().position(|p| p.name == *name);
            let index = by_name.or_else(|| name.parse().ok().filter(|i| *i < face.inputs.len())).ok_or_else(|| {
                let all: Vec<String> = face.inputs.iter().map(|p| format!("`{}`", escape(&p.name))).collect();
                LowerError::Owner(format!("no input is named `{}`, there are {}", escape(name), all.join(", ")))
            })?;
            if std::mem::replace(&mut named[index], true) {
                return Err(LowerError::Owner(format!("input `{}` has two owners", escape(name))));
            }
            face.inputs[index].party = *party;
        }
        if ![MODEL_OWNER, Party::CLIENT].contains(&self.weights) {
            return Err(LowerError::Owner(format!("weights belong to {MODEL_OWNER} or to a client")));
        }
        exists(self.weights)?;
        face.weight_owner = self.weights;
        exists(self.receiver)?;
        face.outputs.iter_mut().for_each(|port| port.party = self.receiver);
        Ok(())
    }
}
