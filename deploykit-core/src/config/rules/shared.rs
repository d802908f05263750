//! Rules of `[shared]`: no two paths may be the same or lie one inside the other, since one of them
//! would be a link and the other would have to lie behind it.

use super::{Rules, dotted};
use crate::config::SharedConfig;
use crate::config::error::{ConfigErrorKind, Problem};

pub(super) fn check(rules: &mut Rules<'_>, shared: &SharedConfig) {
    if !rules.is_whole(&["shared"]) {
        return;
    }
    let lists =
        [("files", &shared.files), ("dirs", &shared.dirs), ("build_dirs", &shared.build_dirs)];
    let numbered = lists.iter().flat_map(|(key, list)| {
        list.iter().enumerate().map(|(index, path)| (*key, index.to_string(), path.as_path()))
    });
    let all: Vec<_> = numbered.collect();
    for (later, (key, index, path)) in all.iter().enumerate() {
        let place = ["shared", key, index];
        let clash = all[..later]
            .iter()
            .find(|(_, _, other)| path.starts_with(other) || other.starts_with(path));
        let Some((other_key, other_index, other)) = clash else { continue };
        let other_place = ["shared", other_key, other_index];
        let message = if path == other {
            format!("`{}`: {path} is shared already", dotted(&place))
        } else {
            let (inner, outer) =
                if path.starts_with(other) { (path, other) } else { (other, path) };
            format!("`{}`: {inner} lies in {outer}, which is shared, too", dotted(&place))
        };
        let problem = Problem::new(ConfigErrorKind::Conflict, message)
            .at(rules.value(&place))
            .beside(rules.value(&other_place), "the other one");
        rules.problems.push(problem);
    }
}
