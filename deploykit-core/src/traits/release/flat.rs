//! The written form of a release's state. It is spelt out, because serde's own flattening copies
//! every value that it reads, which a thousand releases feel.

use serde::{Deserialize, Serialize};

use super::{BuildState, ReleaseState, Verdict};

#[derive(Serialize, Deserialize)]
pub(super) struct Flat {
    build: Build,
    verdict: Judgement,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Build {
    Building,
    Sealed,
    Failed,
    Adopted,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Judgement {
    None,
    Probation,
    Confirmed,
    Bad,
}

impl From<ReleaseState> for Flat {
    fn from(state: ReleaseState) -> Self {
        let (mut verified, mut reason) = (None, None);
        let verdict = match state.verdict {
            Verdict::None => Judgement::None,
            Verdict::Probation => Judgement::Probation,
            Verdict::Confirmed { verified: known } => {
                verified = Some(known);
                Judgement::Confirmed
            }
            Verdict::Bad { reason: why } => {
                reason = Some(why);
                Judgement::Bad
            }
        };
        let build = match state.build {
            BuildState::Building => Build::Building,
            BuildState::Sealed => Build::Sealed,
            BuildState::Adopted => Build::Adopted,
            // What was never complete has no verdict, so that there is one reason at most.
            BuildState::Failed { reason: why } => {
                reason = Some(why);
                Build::Failed
            }
        };
        Self { build, verdict, verified, reason }
    }
}

impl From<Flat> for ReleaseState {
    fn from(flat: Flat) -> Self {
        let mut reason = flat.reason.unwrap_or_default();
        let build = match flat.build {
            Build::Building => BuildState::Building,
            Build::Sealed => BuildState::Sealed,
            Build::Adopted => BuildState::Adopted,
            Build::Failed => BuildState::Failed { reason: std::mem::take(&mut reason) },
        };
        let verdict = match flat.verdict {
            Judgement::None => Verdict::None,
            Judgement::Probation => Verdict::Probation,
            Judgement::Confirmed => {
                Verdict::Confirmed { verified: flat.verified.unwrap_or_default() }
            }
            Judgement::Bad => Verdict::Bad { reason },
        };
        Self { build, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_written_flat_and_read_again() {
        let (why, reason) = (r#""reason":"500""#, || "500".to_owned());
        for (build, verdict, text) in [
            (BuildState::Building, Verdict::None, r#""building","verdict":"none""#.to_owned()),
            (
                BuildState::Failed { reason: reason() },
                Verdict::None,
                format!(r#""failed","verdict":"none",{why}"#),
            ),
            (BuildState::Adopted, Verdict::Probation, r#""adopted","verdict":"probation""#.into()),
            (
                BuildState::Sealed,
                Verdict::Confirmed { verified: true },
                r#""sealed","verdict":"confirmed","verified":true"#.into(),
            ),
            (
                BuildState::Sealed,
                Verdict::Bad { reason: reason() },
                format!(r#""sealed","verdict":"bad",{why}"#),
            ),
        ] {
            let state = ReleaseState { build, verdict };
            let text = format!(r#"{{"build":{text}}}"#);
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
            assert_eq!(serde_json::from_str::<ReleaseState>(&text).unwrap(), state);
        }
    }
}
