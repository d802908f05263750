//! Computing what is to be done. Pure.

use super::prune::{self, Next};
use super::report::{Action, Plan};
use crate::config::{CheckConfig, Config, Period, RuntimeConfig};
use crate::id::{Identity, ReleaseId, Revision, SourceId};
use crate::state::{Hold, ReleaseRecord, Request, State};
use crate::step::Step;
use crate::traits::{BuildState, Resolved, Switching};

/// What a plan is made of.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) config: &'a Config,
    pub(super) state: &'a State,
    pub(super) active: Option<&'a ReleaseRecord>,
    pub(super) build: Vec<String>,
    pub(super) service: String,
    pub(super) switching: Switching,
    pub(super) watched: bool,
    /// So long somebody has time to confirm it, when somebody must.
    pub(super) confirm_within: Option<Period>,
    /// What there is to say of the service of the active release, when it is seen not to run.
    pub(super) down: Option<String>,
}

/// The steps that make a release.
pub(super) fn preparation(config: &Config) -> Vec<Step> {
    let mut steps = vec![Step::Fetch, Step::Checkout];
    if !config.shared.files.is_empty() || !config.shared.build_dirs.is_empty() {
        steps.push(Step::LinkFiles);
    }
    steps.push(Step::Build);
    if !config.shared.dirs.is_empty() {
        steps.push(Step::LinkDirectories);
    }
    steps.push(Step::Seal);
    steps
}

/// The steps after the release is made.
fn activation(watched: bool, switching: Switching) -> Vec<Step> {
    let mut steps = match switching {
        Switching::Nothing => vec![Step::Activate],
        Switching::Restart => vec![Step::Activate, Step::Service],
        Switching::Overlap => vec![Step::Prepare, Step::Activate, Step::Service],
    };
    if watched {
        steps.push(Step::Verify);
    }
    steps.extend([Step::Confirm, Step::Prune]);
    steps
}

/// What a plan leads to.
#[derive(Debug)]
struct Aim {
    revision: Revision,
    source: SourceId,
    name: String,
    to: Option<ReleaseId>,
}

impl Aim {
    fn of(release: &ReleaseRecord) -> Self {
        Self {
            revision: Revision::remote_head(),
            source: release.source.clone(),
            name: release.name.clone(),
            to: Some(release.id.clone()),
        }
    }
}

/// What a deployment of `resolved` would do.
pub(super) fn deploy(
    known: &Known<'_>,
    request: Request,
    revision: Revision,
    resolved: &Resolved,
) -> Plan {
    let (action, to) = deploy_action(known, &request, resolved);
    let (source, name) = (resolved.id.clone(), resolved.name.clone());
    compose(known, request, action, Aim { revision, source, name, to })
}

/// What going to an existing release would do.
pub(super) fn rollback(known: &Known<'_>, request: Request, target: &ReleaseRecord) -> Plan {
    compose(known, request, Action::Activate, Aim::of(target))
}

/// What starting the service of the active release again would do.
pub(super) fn restart(known: &Known<'_>, request: Request, active: &ReleaseRecord) -> Plan {
    compose(known, request, Action::Restart, Aim::of(active))
}

/// What bringing the service of the active release to the present configuration would do.
pub(super) fn reload(known: &Known<'_>, active: &ReleaseRecord) -> Plan {
    let action = if needs_new_runtime(active, &known.config.runtime()) {
        Action::Reconfigure
    } else if known.down.is_some() {
        Action::Restart
    } else {
        Action::Nothing { why: "its service runs as the configuration says".to_owned() }
    };
    compose(known, Request::Reload, action, Aim::of(active))
}

fn compose(known: &Known<'_>, request: Request, action: Action, aim: Aim) -> Plan {
    let switching = switching(known, &action);
    // What only starts the same again, or only looks otherwise, has nothing to go back to.
    let changes = match action {
        Action::Build | Action::Activate => true,
        Action::Reconfigure => switching != Switching::Nothing,
        Action::Nothing { .. } | Action::Restart => false,
    };
    let confirm_within = known.confirm_within.filter(|_| changes);
    let activation = activation(known.watched || confirm_within.is_some(), switching);
    let steps = match action {
        Action::Nothing { .. } => Vec::new(),
        Action::Build => [preparation(known.config), activation].concat(),
        Action::Activate => activation,
        Action::Reconfigure | Action::Restart => {
            let not_the_link = |step: &Step| !matches!(step, Step::Activate | Step::Prune);
            activation.into_iter().filter(not_the_link).collect()
        }
    };
    let prune = if steps.contains(&Step::Prune) {
        prune::after(known.state, &known.config.releases, known.active, Next::of(aim.to.as_ref()))
    } else {
        Vec::new()
    };
    Plan {
        request,
        build: if action == Action::Build { known.build.clone() } else { Vec::new() },
        warnings: warnings(known, &action),
        action,
        revision: aim.revision,
        source: aim.source,
        name: aim.name,
        from: known.active.map(|release| release.id.clone()),
        to: aim.to,
        steps,
        service: known.service.clone(),
        switching,
        checks: known.config.health.checks.iter().map(CheckConfig::label).collect(),
        confirm_within,
        prune,
    }
}

/// How the service is brought over. One that is only to be watched otherwise runs on, if it is known
/// to run as is recorded.
fn switching(known: &Known<'_>, action: &Action) -> Switching {
    let runs_on = |active: &ReleaseRecord| {
        let recorded = active.runtime.as_deref();
        recorded.is_some_and(|recorded| recorded.runs_like(&known.config.runtime()))
            && known.state.serves.as_ref() == Some(&active.id)
            && known.down.is_none()
    };
    match action {
        Action::Reconfigure if known.active.is_some_and(runs_on) => Switching::Nothing,
        _ => known.switching,
    }
}

fn warnings(known: &Known<'_>, action: &Action) -> Vec<String> {
    let idle = matches!(action, Action::Nothing { .. });
    let hold = known.state.hold.as_ref().filter(|_| !idle);
    let why = |hold: &Hold| hold.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let held =
        hold.map(|hold| format!("the present release is held by {}{}", hold.by.user, why(hold)));
    let down = known.down.as_ref().map(|detail| format!("its service does not run: {detail}"));
    held.into_iter().chain(down).collect()
}

fn deploy_action(
    known: &Known<'_>,
    request: &Request,
    resolved: &Resolved,
) -> (Action, Option<ReleaseId>) {
    let Request::Deploy { rebuild, .. } = request else { return (Action::Build, None) };
    if *rebuild {
        return (Action::Build, None);
    }
    let identity = Identity { source: resolved.id.clone(), build: known.config.build_digest() };
    if let Some(active) = known.active.filter(|active| is_current(active, &identity)) {
        let to = Some(active.id.clone());
        return if needs_new_runtime(active, &known.config.runtime()) {
            (Action::Reconfigure, to)
        } else if active.is_undecided() || known.down.is_some() {
            (Action::Restart, to)
        } else {
            let why = format!("{} is active already", resolved.id.short());
            (Action::Nothing { why }, to)
        };
    }
    match known.state.interchangeable(&identity) {
        Some(release) => (Action::Activate, Some(release.id.clone())),
        None => (Action::Build, None),
    }
}

/// Whether the active release is what is asked for. One that was taken over is, when its commit is:
/// nobody knows how it was built, but it serves.
fn is_current(active: &ReleaseRecord, identity: &Identity) -> bool {
    let same = match active.state.build {
        BuildState::Adopted => active.source == identity.source,
        _ => active.identity().as_ref() == Some(identity),
    };
    same && !active.state.verdict.is_bad()
}

fn needs_new_runtime(active: &ReleaseRecord, runtime: &RuntimeConfig) -> bool {
    active.runtime.as_deref().is_some_and(|recorded| recorded != runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Record;
    use crate::state::model::testing::{
        activated, adopted, bad, confirmed, created, release_id, sealed, source_id, state,
    };

    /// A release under the configuration that the tests plan with.
    fn served(config: &Config, number: u8) -> Vec<Record> {
        let mut made = created(number, number, "refs/heads/main");
        if let Record::ReleaseCreated { build, .. } = &mut made {
            *build = config.build_digest();
        }
        let sealed = Record::ReleaseSealed {
            release: release_id(number),
            runtime: config.runtime(),
            bytes: 1,
            entries: 1,
        };
        vec![made, sealed, activated(number), confirmed(number)]
    }

    fn config(text: &str) -> Config {
        toml::from_str(&format!("repo.url = \"/srv/git\"\n{text}")).unwrap()
    }

    fn known<'a>(config: &'a Config, state: &'a State, active: Option<u8>) -> Known<'a> {
        Known {
            config,
            state,
            active: active.map(|number| &state.releases[&release_id(number)]),
            build: vec!["make".into()],
            service: "fake".into(),
            switching: Switching::Restart,
            watched: true,
            confirm_within: None,
            down: None,
        }
    }

    fn plan(known: &Known<'_>, source: u8, rebuild: bool) -> Plan {
        let revision = Revision::remote_head();
        let request = Request::Deploy { revision: revision.clone(), rebuild, retry: false };
        deploy(known, request, revision, &Resolved::new(source_id(source), "refs/heads/main"))
    }

    #[test]
    fn what_is_new_is_built_and_what_will_be_too_much_is_pruned() {
        let config = config("releases.keep = 2");
        let state = state([1, 2].into_iter().flat_map(|number| served(&config, number)));
        let plan = plan(&known(&config, &state, Some(2)), 3, false);
        assert_eq!((&plan.action, &plan.to), (&Action::Build, &None));
        assert_eq!((plan.from, plan.prune), (Some(release_id(2)), vec![release_id(1)]));
        assert_eq!(plan.build, ["make"]);
        let expected = [
            Step::Fetch,
            Step::Checkout,
            Step::Build,
            Step::Seal,
            Step::Activate,
            Step::Service,
            Step::Verify,
            Step::Confirm,
            Step::Prune,
        ];
        assert_eq!(plan.steps, expected);
    }

    #[test]
    fn what_is_active_costs_nothing_what_exists_no_build_and_a_rebuild_all() {
        let config = config("");
        let state = state([1, 2].into_iter().flat_map(|number| served(&config, number)));
        let known = known(&config, &state, Some(2));
        let nothing = plan(&known, 2, false);
        assert!(!nothing.has_work() && nothing.steps.is_empty() && nothing.prune.is_empty());
        assert_eq!(nothing.to, Some(release_id(2)));
        let back = plan(&known, 1, false);
        assert_eq!((&back.action, &back.to), (&Action::Activate, &Some(release_id(1))));
        assert_eq!(back.steps[0], Step::Activate);
        assert!(back.build.is_empty());
        let again = plan(&known, 2, true);
        assert_eq!((again.action, again.to), (Action::Build, None));
    }

    #[test]
    fn another_configuration_of_the_build_makes_another_release() {
        let before = config("build.commands = [[\"make\"]]");
        let after = config("build.commands = [[\"make\", \"all\"]]");
        let state = state(served(&before, 1));
        assert_eq!(plan(&known(&after, &state, Some(1)), 1, false).action, Action::Build);
    }

    #[test]
    fn a_changed_configuration_of_the_service_alone_leaves_the_link() {
        let (before, after) = (config(""), config("service.start = [\"./web\"]"));
        let state = state(served(&before, 1));
        let plan = plan(&known(&after, &state, Some(1)), 1, false);
        assert_eq!((&plan.action, &plan.to), (&Action::Reconfigure, &Some(release_id(1))));
        assert_eq!(plan.steps, [Step::Service, Step::Verify, Step::Confirm]);
        assert_eq!(plan.prune, []);
    }

    #[test]
    fn a_service_that_is_only_watched_otherwise_runs_on() {
        let before = config("");
        for after in ["health.failures = 7", "probation.duration = \"9s\""] {
            let (after, state) = (config(after), state(served(&before, 1)));
            let plan = plan(&known(&after, &state, Some(1)), 1, false);
            assert_eq!((&plan.action, plan.switching), (&Action::Reconfigure, Switching::Nothing));
            assert_eq!(plan.steps, [Step::Verify, Step::Confirm]);
        }
    }

    #[test]
    fn a_service_that_is_started_again_is_of_the_active_release_and_watched() {
        let config = config("");
        let state = state(served(&config, 1));
        let known = known(&config, &state, Some(1));
        let plan = restart(&known, Request::Restart, &state.releases[&release_id(1)]);
        assert_eq!((plan.action, plan.to), (Action::Restart, Some(release_id(1))));
        assert_eq!(plan.steps, [Step::Service, Step::Verify, Step::Confirm]);
    }

    #[test]
    fn an_adopted_release_is_current_by_its_commit_and_a_bad_one_never_is() {
        let config = config("");
        let state_of = |records: Vec<Record>| state(records);
        let mut found = adopted(1, 1);
        if let Record::ReleaseAdopted { runtime, .. } = &mut found {
            *runtime = config.runtime();
        }
        let adopted = state_of(vec![found.clone(), activated(1)]);
        assert!(!plan(&known(&config, &adopted, Some(1)), 1, false).has_work());
        let ill = state_of(vec![found, activated(1), bad(1)]);
        assert_eq!(plan(&known(&config, &ill, Some(1)), 1, false).action, Action::Build);
    }

    #[test]
    fn new_instances_are_started_before_the_activation_where_they_can_overlap() {
        let config = config("");
        let state = state(served(&config, 1).into_iter().chain([created(2, 2, "x"), sealed(2)]));
        for (switching, watched, expected) in [
            (Switching::Overlap, false, vec![Step::Prepare, Step::Activate, Step::Service]),
            (Switching::Restart, false, vec![Step::Activate, Step::Service]),
            (Switching::Nothing, true, vec![Step::Activate, Step::Verify]),
        ] {
            let known = Known { switching, watched, ..known(&config, &state, None) };
            let request = Request::Rollback { to: None };
            let plan = rollback(&known, request, &state.releases[&release_id(1)]);
            let steps = [expected, vec![Step::Confirm, Step::Prune]].concat();
            assert_eq!((plan.action, plan.steps), (Action::Activate, steps));
        }
    }

    #[test]
    fn shared_files_are_linked_before_the_build_and_directories_after_it() {
        let steps = |text: &str| preparation(&config(text));
        let position = |steps: &[Step], step| steps.iter().position(|s| *s == step);
        let all = steps("shared = { files = [\".env\"], dirs = [\"uploads\"] }");
        assert!(position(&all, Step::LinkFiles) < position(&all, Step::Build));
        assert!(position(&all, Step::LinkDirectories) > position(&all, Step::Build));
        assert_eq!(position(&steps(""), Step::LinkFiles), None);
        assert!(steps("shared.build_dirs = [\"cache\"]").contains(&Step::LinkFiles));
    }

    #[test]
    fn a_hold_is_told_of_when_there_is_something_to_do() {
        let config = config("");
        let by = crate::state::Actor { user: "ann".into(), via: "test".into() };
        let held = Record::Held { by, reason: None };
        let state = state(served(&config, 1).into_iter().chain([held]));
        let known = known(&config, &state, Some(1));
        assert_eq!(plan(&known, 2, false).warnings, ["the present release is held by ann"]);
        assert!(plan(&known, 1, false).warnings.is_empty());
    }
}
