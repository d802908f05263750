//! From the text of an action to what it does.

use super::{Action, Actions, Does, UnitVerb};
use crate::angelize::{self, ActionList, Variables, Verb, expand, split_command};
use std::time::Duration;

/// An action that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the action {text:?}: {why}")]
pub struct NoAction {
    /// As it is written.
    pub text: String,
    /// Why not.
    pub why: String,
}

/// The actions of a list `start`: what comes before `start`, and what comes after it.
///
/// # Errors
/// The first that cannot be done.
pub fn of_start(
    texts: &[String],
    variables: &Variables,
    actions: &mut Actions,
) -> Result<(), NoAction> {
    let (before, after) = around(texts, variables, ActionList::Start, Verb::Start)?;
    (actions.before_start, actions.after_start) = (before, after);
    Ok(())
}

/// The actions of a list `stop`: what comes before `stop`, and what comes after it.
///
/// # Errors
/// The first that cannot be done.
pub fn of_stop(
    texts: &[String],
    variables: &Variables,
    actions: &mut Actions,
) -> Result<(), NoAction> {
    let (before, after) = around(texts, variables, ActionList::Stop, Verb::Stop)?;
    (actions.before_stop, actions.after_stop) = (before, after);
    Ok(())
}

/// One action of a list `watch`.
///
/// # Errors
/// When it cannot be done.
pub fn of_watch(text: &str, variables: &Variables) -> Result<Action, NoAction> {
    let fail = |why: String| NoAction { text: text.to_owned(), why };
    if let Some(does) = ours(text, variables).map_err(fail)? {
        return Ok(Action { text: text.to_owned(), does });
    }
    // As a watch, the program of the service itself is not meant.
    if text.split_once(':').is_none_or(|(_, target)| target.trim().is_empty()) {
        return Err(fail("it does not say what is asked".to_owned()));
    }
    match compile(text, variables, ActionList::Watch).map_err(fail)? {
        Some(Does::Sleep(_)) => Err(fail("it asks nothing".to_owned())),
        // Angelize waits for no end here; whether it could be started says nothing of a service.
        Some(Does::Exec(command)) => {
            let code = angelize::Action::parse(text).map(|(action, _)| action);
            let code = code.ok().and_then(|action| action.expected_of(Verb::Exec)).unwrap_or(0);
            Ok(Action { text: text.to_owned(), does: Does::Wait { command, code } })
        }
        Some(does) => Ok(Action { text: text.to_owned(), does }),
        None => Err(fail("it asks nothing".to_owned())),
    }
}

type Both = (Vec<Action>, Vec<Action>);

fn around(
    texts: &[String],
    variables: &Variables,
    list: ActionList,
    middle: Verb,
) -> Result<Both, NoAction> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut is_after = false;
    for text in texts {
        let fail = |why: String| NoAction { text: text.clone(), why };
        let does = match ours(text, variables).map_err(fail)? {
            Some(does) => Some(does),
            None => compile(text, variables, list).map_err(fail)?,
        };
        match does {
            Some(does) => {
                let action = Action { text: text.clone(), does };
                if is_after { after.push(action) } else { before.push(action) }
            }
            None if is_after => return Err(fail(format!("`{middle}` stands there already"))),
            None => is_after = true,
        }
    }
    if !texts.is_empty() && !is_after {
        let text = texts.first().cloned().unwrap_or_default();
        let why = format!("the list is without `{middle}`, which is the process itself");
        return Err(NoAction { text, why });
    }
    Ok((before, after))
}

/// The verbs that Angelize does not have: `tcp` and `unix`.
fn ours(text: &str, variables: &Variables) -> Result<Option<Does>, String> {
    let Some((verb, target)) = text.split_once(':') else { return Ok(None) };
    let target = || expand(target.trim(), variables).map_err(|error| error.to_string());
    Ok(match verb.trim().to_ascii_lowercase().as_str() {
        "tcp" => {
            let target = target()?;
            let port = target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                return Err("tcp:HOST:PORT is what it looks like".to_owned());
            }
            Some(Does::Tcp(target))
        }
        "unix" => {
            let target = target()?;
            if !target.starts_with('/') {
                return Err("the path of the socket is absolute".to_owned());
            }
            Some(Does::Unix(target))
        }
        _ => None,
    })
}

/// What an action of Angelize does; nothing where it is about the process of the service.
fn compile(text: &str, variables: &Variables, list: ActionList) -> Result<Option<Does>, String> {
    let (action, _) = angelize::Action::parse(text).map_err(|error| error.to_string())?;
    let verb = action.verb_in(list).map_err(|error| error.to_string())?;
    let target = || expand(action.target(), variables).map_err(|error| error.to_string());
    let command = |line: &str| split_command(line).map_err(|error| error.to_string());
    let expected = action.expected_of(verb);
    Ok(Some(match verb {
        Verb::Start | Verb::Stop => {
            // Which program that is, `command` says.
            let is_own = action.parameter.is_empty() || action.parameter == "%run%";
            let run = expand("%run%", variables).unwrap_or_default();
            if !is_own && target()? != run {
                return Err(format!("`{verb}` is about `command`: nothing else belongs behind it"));
            }
            return Ok(None);
        }
        Verb::Sleep => Does::Sleep(Duration::from_millis(
            target()?.trim().parse().map_err(|_| "it waits for milliseconds".to_owned())?,
        )),
        Verb::Exec => Does::Exec(command(&target()?)?),
        Verb::Wait => {
            let code = expected.unwrap_or(0);
            if !(0..=255).contains(&code) {
                return Err(format!("no program exits with {code}"));
            }
            Does::Wait { command: command(&target()?)?, code }
        }
        Verb::Http | Verb::Https => {
            let status = u16::try_from(expected.unwrap_or(200)).unwrap_or(0);
            if !(100..=599).contains(&status) {
                return Err(format!("{status} is no http status"));
            }
            let url = format!("{verb}:{}", target()?);
            let host = url.split_once("://").map_or("", |(_, rest)| rest);
            if host.is_empty() || host.starts_with('/') {
                return Err("http://HOST:PORT/PATH is what it looks like".to_owned());
            }
            Does::Http { url, status }
        }
        Verb::Service => Does::Unit { name: target()?, verb: unit_verb(list, expected) },
    }))
}

/// Angelize knows the states of services of Windows: 4 is "running".
fn unit_verb(list: ActionList, expected: Option<i32>) -> UnitVerb {
    match list {
        ActionList::Start => UnitVerb::Start,
        ActionList::Stop => UnitVerb::Stop,
        ActionList::Watch => UnitVerb::Expect { running: expected.is_none_or(|state| state == 4) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::new();
        variables.set("run", "./web --port 8080").set_directory("temp", "/tmp");
        variables
    }

    fn start(texts: &[&str]) -> Result<Actions, NoAction> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut actions = Actions::default();
        of_start(&texts, &variables(), &mut actions).map(|()| actions)
    }

    #[test]
    fn what_stands_before_start_and_after_it_is_kept_apart() {
        let actions =
            start(&["wait:./migrate --now=3", "start", "sleep:500", "http://h/x=204"]).unwrap();
        let does = |all: &[Action]| all.iter().map(|one| one.does.clone()).collect::<Vec<_>>();
        let migrate = vec!["./migrate".to_owned(), "--now".to_owned()];
        assert_eq!(does(&actions.before_start), [Does::Wait { command: migrate, code: 3 }]);
        let http = Does::Http { url: "http://h/x".to_owned(), status: 204 };
        assert_eq!(does(&actions.after_start), [Does::Sleep(Duration::from_millis(500)), http]);
        assert_eq!(start(&["start:%run%"]).unwrap(), Actions::default());
        assert_eq!(start(&["start:./web --port 8080"]).unwrap(), Actions::default());
    }

    #[test]
    fn what_cannot_be_meant_says_why() {
        for (texts, told) in [
            (&["sleep:5"][..], "without `start`"),
            (&["start", "start"], "there already"),
            (&["start:./other"], "is about `command`"),
            (&["wait:./a | b", "start"], "needs a shell"),
            (&["wait:%nothing%", "start"], "no variable"),
            (&["jump", "start"], "jump"),
            (&["http://h/=7", "start"], "no http status"),
        ] {
            let error = start(texts).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_watch_asks_something() {
        let of = |text: &str| of_watch(text, &variables()).map(|action| action.does);
        let http = Does::Http { url: "https://h:1/".to_owned(), status: 200 };
        assert_eq!(of("https://h:1/"), Ok(http));
        assert_eq!(of("tcp:127.0.0.1:80"), Ok(Does::Tcp("127.0.0.1:80".to_owned())));
        assert_eq!(of("unix:%temp%a"), Ok(Does::Unix("/tmp/a".to_owned())));
        let look = vec!["./look".to_owned()];
        assert_eq!(of("exec:./look=2"), Ok(Does::Wait { command: look, code: 2 }));
        let verb = UnitVerb::Expect { running: true };
        assert_eq!(of("service:db"), Ok(Does::Unit { name: "db".to_owned(), verb }));
        for text in ["sleep:5", "start", "tcp:here", "unix:relative"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
