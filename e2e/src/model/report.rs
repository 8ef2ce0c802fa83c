//! What a walk found, for people and for programs.

use serde_json::json;

use super::{Epochs, Walk};

/// A walk and what was walked.
#[derive(Debug)]
pub struct Report<'a> {
    /// The scope, and the rule that was missing, if one was.
    pub model: Epochs,
    /// What was found.
    pub walk: &'a Walk,
}

impl Report<'_> {
    /// What is not as it must be: a loss although no rule is missing, no loss although one is, or a walk that stayed at
    /// the beginning.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let (scope, walk) = (self.model.scope.name, self.walk);
        match self.model.plant {
            None if walk.loss.is_some() => Some(format!("{scope}: something was lost")),
            Some(plant) if plant.is_covered() && walk.loss.is_some() => Some(format!(
                "{scope}: something was lost without {plant:?}, which other rules used to cover"
            )),
            Some(plant) if !plant.is_covered() && walk.loss.is_none() => {
                Some(format!("{scope}: nothing was lost without {plant:?}"))
            }
            _ if walk.loss.is_none() && !walk.reached_the_end => {
                Some(format!("{scope}: the last epoch never committed anything"))
            }
            _ => None,
        }
    }

    /// A line, and the way to the loss, if there is one.
    #[must_use]
    pub fn text(&self) -> String {
        let (scope, Walk { states, ways, depth, time, .. }) = (self.model.scope.name, self.walk);
        let title = self.model.plant.map_or_else(|| scope.to_owned(), |plant| format!("without {plant:?}"));
        let seconds = time.as_secs_f64();
        let figures =
            format!("{title}: {states} states, {ways} ways into them, depth {depth}, {seconds:.1} s");
        let Some(steps) = &self.walk.loss else { return format!("{figures}, nothing lost") };
        let numbered: Vec<String> =
            (1..).zip(steps).map(|(number, step)| format!("{number:>5}. {step}")).collect();
        format!("{figures}\n{}", numbered.join("\n"))
    }

    /// One object.
    #[must_use]
    pub fn json(&self) -> String {
        let (scope, walk) = (self.model.scope, self.walk);
        json!({
            "scope": scope.name,
            "bounds": {
                "replicas": scope.replicas, "voters": scope.voters, "epochs": scope.epochs, "writes": scope.writes,
                "crashes": scope.crashes, "changes": scope.changes, "withdrawals": scope.withdrawals,
                "wipes": scope.wipes, "reads": scope.reads,
            },
            "plant": self.model.plant.map(|plant| format!("{plant:?}")),
            "states": walk.states,
            "ways": walk.ways,
            "depth": walk.depth,
            "seconds": walk.time.as_secs_f64(),
            "bytes_per_waiting_state": Epochs::STATE_BYTES,
            "reached_the_end": walk.reached_the_end,
            "loss": walk.loss,
            "complaint": self.complaint(),
        })
        .to_string()
    }
}
