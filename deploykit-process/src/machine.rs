//! What an instance does when something happens to it: what comes after what. Pure; the effects are in
//! the loop of the manager.
//!
//! ```text
//!           ┌──────────────── wanted ────────────────┐
//!           ▼                                        │
//! Down ─▶ Waiting ─▶ Starting ─▶ Running ─▶ Stopping ─▶ Down
//!           ▲           │            │         ▲
//!           │           ▼            ▼         │
//!           └──────── Pausing ◀── (it ended)   └── unwanted, or to be started anew
//! ```

use std::time::Duration;

use deploykit_core::Topic;
use serde::{Deserialize, Serialize};

use crate::policy::{Decision, Ending, Rules, Troubles};

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// It does not run.
    Down(Reason),
    /// It is to run, when those are up that it needs.
    Waiting,
    /// Its process runs, and is not ready yet.
    Starting,
    /// It runs and is ready.
    Running,
    /// It has ended, and is started again after a pause.
    Pausing,
    /// It was asked to end.
    Stopping(Next),
}

/// Why an instance does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Nobody wants it to.
    Unwanted,
    /// It has done what it is there for.
    Done,
    /// It has failed, and a person must want it anew; why, in words.
    Failed(String),
}

/// What comes after the end that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Next {
    /// It stays down.
    Nothing,
    /// It is started again: at once, since somebody wants that.
    Start,
    /// It was not well: it is started again as if it had ended by itself.
    Recover,
}

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// Somebody wants it to run.
    Wanted,
    /// Somebody wants it not to.
    Unwanted,
    /// All that it needs is up.
    Unblocked,
    /// It is ready.
    Ready,
    /// It has ended, after so long.
    Ended {
        /// How.
        ending: Ending,
        /// How long it has run.
        ran: Duration,
    },
    /// The time that its phase may take is over.
    TimeUp,
    /// A watch has found it not to be well, or it uses more memory than it may; why, in words.
    Unwell(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Start its process.
    Spawn,
    /// Ask its process to end.
    Ask,
    /// End its process and everything that it has started.
    Kill,
    /// Tell [`Happened::TimeUp`] after this time, and not what was to be told before.
    Timer(Duration),
    /// Tell it no more.
    NoTimer,
    /// Somebody may want to know.
    Tell(News),
}

/// What somebody may want to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "news")]
#[non_exhaustive]
pub enum News {
    /// Its program was started.
    Started {
        /// Its number.
        pid: u32,
    },
    /// It is ready.
    Ready,
    /// It was asked to end, and has.
    Stopped,
    /// It has done what it is there for.
    Done,
    /// It was asked to end, has not in its time, and is killed.
    Killed,
    /// It has ended without being asked to, and is started again.
    ExitedRetry {
        /// How it ended, in words.
        why: String,
    },
    /// It has ended without being asked to, and stays down.
    ExitedNoRetry {
        /// Why, in words.
        why: String,
    },
    /// It runs again.
    Recovered,
    /// It is to use no more than so much of something, and nothing here can see to that.
    NotLimited {
        /// Of what.
        what: String,
    },
    /// Somebody who asks it has found it not to be well, several times in a row.
    WatchFailed {
        /// What was asked.
        watch: String,
        /// What was found.
        why: String,
    },
    /// It is found well again.
    WatchRecovered {
        /// What was asked.
        watch: String,
    },
    /// It was not well, and is started anew.
    Unwell {
        /// Why, in words.
        why: String,
    },
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started { pid } => write!(f, "started as process {pid}"),
            Self::Ready => f.write_str("ready"),
            Self::Stopped => f.write_str("stopped"),
            Self::Done => f.write_str("has done its work"),
            Self::Killed => f.write_str("has not ended in its time, and is killed"),
            Self::ExitedRetry { why } => write!(f, "{why}, and is started again"),
            Self::ExitedNoRetry { why } => write!(f, "stays down: {why}"),
            Self::Recovered => f.write_str("runs again"),
            Self::NotLimited { what } => {
                write!(f, "is not limited: no control group here limits {what}")
            }
            Self::WatchFailed { why, .. } => write!(f, "does not answer well: {why}"),
            Self::WatchRecovered { watch } => write!(f, "answers well again: {watch}"),
            Self::Unwell { why } => write!(f, "is not well, and is started anew: {why}"),
        }
    }
}

impl News {
    /// Whether something is wrong, or was until now: not what somebody wanted to happen.
    pub fn is_of_trouble(&self) -> bool {
        !matches!(self, Self::Started { .. } | Self::Ready | Self::Stopped | Self::Done)
    }

    /// What somebody far away is told that it is about; nothing for what is for whoever looks on.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Self::ExitedRetry { .. } => Some(Topic::ExitedRetry),
            Self::ExitedNoRetry { .. } => Some(Topic::ExitedNoRetry),
            Self::Recovered => Some(Topic::Recovered),
            Self::WatchFailed { .. } => Some(Topic::WatchFailed),
            Self::WatchRecovered { .. } => Some(Topic::WatchRecovered),
            _ => None,
        }
    }
}

/// What is fixed of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Course {
    /// What decides when it ends.
    pub rules: Rules,
    /// It is ready when it has ended well: it does its work once.
    pub once: bool,
    /// How long it may take to get ready.
    pub start_timeout: Duration,
    /// How long it may take to end when it is asked to; nothing: it is not asked.
    pub stop_timeout: Duration,
}

/// An instance, as far as it decides what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What it is doing.
    pub phase: Phase,
    /// What is remembered of its ends.
    pub troubles: Troubles,
    /// How often it was started again without being asked to.
    pub restarts: u64,
    /// It was wanted by somebody, and waits for what it needs. What has ended by itself does not wait for
    /// others that have failed since.
    pub is_gated: bool,
    /// Its ready state is news: it had ended before.
    ailing: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            phase: Phase::Down(Reason::Unwanted),
            troubles: Troubles::default(),
            restarts: 0,
            is_gated: true,
            ailing: false,
        }
    }
}

impl Machine {
    /// One that another manager has left in this phase.
    pub fn at(phase: Phase, restarts: u64) -> Self {
        Self { phase, restarts, ailing: restarts > 0, ..Self::default() }
    }

    /// Takes what has happened at `now`, on a monotonic clock, and says what is to be done. `jitter` is a
    /// number between 0 and 1 of the caller's choice.
    pub fn take(
        &mut self,
        course: &Course,
        happened: Happened,
        now: Duration,
        jitter: f64,
    ) -> Vec<Act> {
        match happened {
            Happened::Wanted => self.wanted(),
            Happened::Unwanted => self.unwanted(course),
            Happened::Unblocked => match self.phase {
                Phase::Waiting => self.start(course),
                _ => Vec::new(),
            },
            Happened::Ready => self.ready(course),
            Happened::Ended { ending, ran } => self.ended(course, &ending, ran, now, jitter),
            Happened::TimeUp => self.time_up(course),
            Happened::Unwell(why) => self.unwell(course, why),
        }
    }

    fn wanted(&mut self) -> Vec<Act> {
        if !matches!(self.phase, Phase::Starting | Phase::Running) {
            self.is_gated = true;
        }
        match &mut self.phase {
            Phase::Down(_) => {
                self.forget();
                self.phase = Phase::Waiting;
            }
            // Somebody does not want to wait for the pause.
            Phase::Pausing => {
                self.forget();
                self.phase = Phase::Waiting;
                return vec![Act::NoTimer];
            }
            Phase::Stopping(next) => *next = Next::Start,
            Phase::Waiting | Phase::Starting | Phase::Running => {}
        }
        Vec::new()
    }

    fn unwanted(&mut self, course: &Course) -> Vec<Act> {
        match &mut self.phase {
            Phase::Down(reason) => {
                *reason = Reason::Unwanted;
                Vec::new()
            }
            Phase::Stopping(next) => {
                *next = Next::Nothing;
                Vec::new()
            }
            Phase::Waiting | Phase::Pausing => {
                self.phase = Phase::Down(Reason::Unwanted);
                vec![Act::NoTimer]
            }
            Phase::Starting | Phase::Running => self.stop(course, Next::Nothing),
        }
    }

    fn unwell(&mut self, course: &Course, why: String) -> Vec<Act> {
        match self.phase {
            Phase::Starting | Phase::Running => {
                let mut acts = vec![Act::Tell(News::Unwell { why })];
                acts.extend(self.stop(course, Next::Recover));
                acts
            }
            _ => Vec::new(),
        }
    }

    fn start(&mut self, course: &Course) -> Vec<Act> {
        self.phase = Phase::Starting;
        vec![Act::Timer(course.start_timeout), Act::Spawn]
    }

    fn stop(&mut self, course: &Course, next: Next) -> Vec<Act> {
        self.phase = Phase::Stopping(next);
        if course.stop_timeout.is_zero() {
            return vec![Act::NoTimer, Act::Kill];
        }
        vec![Act::Ask, Act::Timer(course.stop_timeout)]
    }

    fn ready(&mut self, course: &Course) -> Vec<Act> {
        if self.phase != Phase::Starting || course.once {
            return Vec::new();
        }
        self.phase = Phase::Running;
        let news = if std::mem::take(&mut self.ailing) { News::Recovered } else { News::Ready };
        vec![Act::NoTimer, Act::Tell(news)]
    }

    fn time_up(&mut self, course: &Course) -> Vec<Act> {
        match self.phase {
            Phase::Pausing => {
                self.phase = Phase::Waiting;
                Vec::new()
            }
            Phase::Starting => {
                let why =
                    format!("it was not ready within {} s", course.start_timeout.as_secs_f32());
                self.unwell(course, why)
            }
            Phase::Stopping(_) => vec![Act::Kill, Act::Tell(News::Killed)],
            Phase::Down(_) | Phase::Waiting | Phase::Running => Vec::new(),
        }
    }

    fn ended(
        &mut self,
        course: &Course,
        ending: &Ending,
        ran: Duration,
        now: Duration,
        jitter: f64,
    ) -> Vec<Act> {
        match self.phase {
            Phase::Stopping(Next::Nothing) => {
                self.phase = Phase::Down(Reason::Unwanted);
                vec![Act::NoTimer, Act::Tell(News::Stopped)]
            }
            Phase::Stopping(Next::Start) => {
                self.forget();
                self.phase = Phase::Waiting;
                vec![Act::NoTimer, Act::Tell(News::Stopped)]
            }
            Phase::Starting if course.once && course.rules.is_success(ending) => {
                self.forget();
                self.phase = Phase::Down(Reason::Done);
                vec![Act::NoTimer, Act::Tell(News::Done)]
            }
            Phase::Starting | Phase::Running | Phase::Stopping(Next::Recover) => {
                self.decide(course, ending, ran, now, jitter)
            }
            Phase::Down(_) | Phase::Waiting | Phase::Pausing => Vec::new(),
        }
    }

    /// It has ended without being asked to.
    fn decide(
        &mut self,
        course: &Course,
        ending: &Ending,
        ran: Duration,
        now: Duration,
        jitter: f64,
    ) -> Vec<Act> {
        let why = ending.to_string();
        match course.rules.after(ending, ran, now, &mut self.troubles, jitter) {
            Decision::Again(pause) => {
                self.restarts += 1;
                (self.ailing, self.is_gated) = (true, false);
                self.phase = if pause.is_zero() { Phase::Waiting } else { Phase::Pausing };
                let timer = if pause.is_zero() { Act::NoTimer } else { Act::Timer(pause) };
                vec![timer, Act::Tell(News::ExitedRetry { why })]
            }
            Decision::Done => {
                self.phase = Phase::Down(Reason::Done);
                vec![Act::NoTimer, Act::Tell(News::Done)]
            }
            Decision::Down(reason) => {
                self.ailing = true;
                self.phase = Phase::Down(Reason::Failed(reason.clone()));
                vec![Act::NoTimer, Act::Tell(News::ExitedNoRetry { why: reason })]
            }
        }
    }

    /// A person, or a deployment, begins anew: what was before tells nothing of what is wanted now.
    pub fn forget(&mut self) {
        self.troubles = Troubles::default();
        self.restarts = 0;
    }
}

#[cfg(test)]
mod tests {
    use deploykit_core::process::Exit;
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    fn course(once: bool) -> Course {
        Course {
            rules: Rules { give_up: Some(3), ..Rules::default() },
            once,
            start_timeout: Duration::from_secs(90),
            stop_timeout: Duration::from_secs(10),
        }
    }

    fn died(code: i32, ran: Duration) -> Happened {
        Happened::Ended { ending: Ending::Ended(Exit::Code(code)), ran }
    }

    fn run(machine: &mut Machine, course: &Course, happened: &[Happened]) -> Vec<Act> {
        let one = |happened: &Happened| machine.take(course, happened.clone(), LONG, 0.0);
        happened.iter().flat_map(one).collect()
    }

    #[test]
    fn what_is_wanted_waits_for_what_it_needs_and_is_started_and_ends_when_it_is_asked() {
        let (mut machine, course) = (Machine::default(), course(false));
        assert_eq!(run(&mut machine, &course, &[Happened::Wanted]), []);
        assert_eq!(machine.phase, Phase::Waiting);
        let acts = run(&mut machine, &course, &[Happened::Unblocked]);
        assert_eq!(acts, [Act::Timer(course.start_timeout), Act::Spawn]);
        let acts = run(&mut machine, &course, &[Happened::Ready]);
        assert_eq!(acts, [Act::NoTimer, Act::Tell(News::Ready)]);
        assert_eq!(machine.phase, Phase::Running);
        let acts = run(&mut machine, &course, &[Happened::Unwanted, Happened::TimeUp]);
        let killed = Act::Tell(News::Killed);
        assert_eq!(acts, [Act::Ask, Act::Timer(course.stop_timeout), Act::Kill, killed]);
        let acts = run(&mut machine, &course, &[died(0, LONG)]);
        assert_eq!(acts, [Act::NoTimer, Act::Tell(News::Stopped)]);
        assert_eq!(machine.phase, Phase::Down(Reason::Unwanted));
    }

    #[test]
    fn what_ends_by_itself_is_started_again_and_that_it_runs_again_is_told() {
        let (mut machine, course) = (Machine::default(), course(false));
        let up = [Happened::Wanted, Happened::Unblocked, Happened::Ready];
        run(&mut machine, &course, &up);
        // After a stable run at once.
        let acts = run(&mut machine, &course, &[died(1, LONG)]);
        let why = "exited with code 1".to_owned();
        assert_eq!(acts, [Act::NoTimer, Act::Tell(News::ExitedRetry { why })]);
        assert_eq!((&machine.phase, machine.restarts), (&Phase::Waiting, 1));
        let acts = run(&mut machine, &course, &[Happened::Unblocked, Happened::Ready]);
        assert!(acts.contains(&Act::Tell(News::Recovered)), "{acts:?}");
        // Too soon: after a pause, and in the end not at all.
        for pause in [1, 2] {
            let acts = run(&mut machine, &course, &[died(1, Duration::ZERO)]);
            assert_eq!(acts[0], Act::Timer(Duration::from_secs(pause)));
            assert_eq!(machine.phase, Phase::Pausing);
            run(&mut machine, &course, &[Happened::TimeUp, Happened::Unblocked, Happened::Ready]);
        }
        let acts = run(&mut machine, &course, &[died(1, Duration::ZERO)]);
        assert!(
            matches!(&acts[1], Act::Tell(News::ExitedNoRetry { why }) if why.contains("3 times"))
        );
        assert!(matches!(machine.phase, Phase::Down(Reason::Failed(_))));
        // Until a person wants it anew.
        run(&mut machine, &course, &up);
        assert_eq!((&machine.phase, machine.troubles.count()), (&Phase::Running, 0));
    }

    #[test]
    fn what_does_its_work_once_is_done_when_it_has_ended_well() {
        let (mut machine, course) = (Machine::default(), course(true));
        run(&mut machine, &course, &[Happened::Wanted, Happened::Unblocked, Happened::Ready]);
        assert_eq!(machine.phase, Phase::Starting, "it has not ended yet");
        run(&mut machine, &course, &[died(0, Duration::ZERO)]);
        assert_eq!(machine.phase, Phase::Down(Reason::Done));
        run(&mut machine, &course, &[Happened::Wanted, Happened::Unblocked]);
        run(&mut machine, &course, &[died(4, Duration::ZERO)]);
        assert_eq!(machine.phase, Phase::Pausing);
    }

    #[test]
    fn what_is_not_ready_in_time_or_not_well_is_ended_and_started_anew() {
        let (mut machine, course) = (Machine::default(), course(false));
        run(&mut machine, &course, &[Happened::Wanted, Happened::Unblocked]);
        let acts = run(&mut machine, &course, &[Happened::TimeUp]);
        assert!(
            matches!(&acts[0], Act::Tell(News::Unwell { why }) if why.contains("90 s")),
            "{acts:?}"
        );
        assert_eq!(acts[1..], [Act::Ask, Act::Timer(course.stop_timeout)]);
        run(&mut machine, &course, &[died(0, LONG), Happened::Unblocked, Happened::Ready]);
        assert_eq!((&machine.phase, machine.restarts), (&Phase::Running, 1));
        let anew = [Happened::Unwanted, Happened::Wanted, died(0, Duration::ZERO)];
        run(&mut machine, &course, &anew);
        assert_eq!((&machine.phase, machine.restarts), (&Phase::Waiting, 0), "a person wants it");
        let at_once = Course { stop_timeout: Duration::ZERO, ..course };
        let acts = run(&mut machine, &at_once, &[Happened::Unblocked, Happened::Unwanted]);
        assert_eq!(acts[2..], [Act::NoTimer, Act::Kill]);
    }

    fn anything() -> impl Strategy<Value = Happened> {
        prop_oneof![
            Just(Happened::Wanted),
            Just(Happened::Unwanted),
            Just(Happened::Unblocked),
            Just(Happened::Ready),
            Just(Happened::TimeUp),
            Just(Happened::Unwell("ill".into())),
            (0..3, 0..100_u64).prop_map(|(code, ran)| died(code, Duration::from_secs(ran))),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: never are there two processes, and nobody who is not there
        /// is asked to end.
        #[test]
        fn there_is_a_process_just_when_the_phase_says_so(
            all in prop::collection::vec(anything(), 0..60), once: bool, at_once: bool
        ) {
            let mut course = course(once);
            if at_once {
                course.stop_timeout = Duration::ZERO;
            }
            let (mut machine, mut alive, mut timer) = (Machine::default(), false, false);
            for happened in all {
                // What cannot happen does not.
                match happened {
                    Happened::Ended { .. } if !alive => continue,
                    Happened::Ended { .. } => alive = false,
                    Happened::TimeUp if !timer => continue,
                    Happened::TimeUp => timer = false,
                    _ => {}
                }
                for act in machine.take(&course, happened.clone(), LONG, 0.5) {
                    match act {
                        Act::Spawn => {
                            prop_assert!(!alive, "a second process after {happened:?}");
                            alive = true;
                        }
                        Act::Ask | Act::Kill => prop_assert!(alive, "{happened:?}: nobody is there"),
                        Act::Timer(_) => timer = true,
                        Act::NoTimer => timer = false,
                        Act::Tell(_) => {}
                    }
                }
                let runs = matches!(machine.phase, Phase::Starting | Phase::Running | Phase::Stopping(_));
                prop_assert_eq!(runs, alive, "{:?} after {:?}", machine.phase, happened);
                // Whoever waits for time waits for it.
                let waits = matches!(machine.phase, Phase::Pausing | Phase::Starting);
                prop_assert!(!waits || timer, "{:?} for ever", machine.phase);
            }
        }
    }
}
