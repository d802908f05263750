//! Lists of actions.

use super::super::action::{Action, ActionList, Expected, Verb};
use super::super::settings::AngelizeService;
use super::Notes;
use super::program::{Known, shell_action};

/// A list, after it was looked at.
pub(super) struct List {
    /// What is left, as texts for a list of ours.
    pub(super) texts: Vec<String>,
    /// The command line of the program that `start` or `stop` is about, with its variables.
    pub(super) program: Option<String>,
    /// Whether there is more in it than that one action.
    pub(super) more: bool,
}

/// Reads one of the three lists.
pub(super) fn list(
    service: &AngelizeService,
    which: ActionList,
    known: &Known,
    notes: &mut Notes<'_>,
) -> List {
    let (setting, own, given) = match which {
        ActionList::Start => ("Start", "start", &service.start),
        ActionList::Stop => ("Stop", "stop", &service.stop),
        ActionList::Watch => ("Watch", "", &service.watch),
    };
    let default = [own.to_owned()];
    let empty = given.is_empty() && !own.is_empty() && !service.run.is_empty();
    let given: &[String] = if empty { &default } else { given };
    let mut list = List { texts: Vec::new(), program: None, more: false };
    for text in given {
        let mut reading = Reading { service, which, setting, known, notes: &mut *notes };
        reading.one(text, &mut list);
    }
    list.more = list.texts.iter().any(|text| text != own);
    list
}

struct Reading<'a, 'n> {
    service: &'a AngelizeService,
    which: ActionList,
    setting: &'static str,
    known: &'a Known,
    notes: &'a mut Notes<'n>,
}

impl Reading<'_, '_> {
    fn one(&mut self, text: &str, list: &mut List) {
        let Some((action, verb)) = self.read(text) else { return };
        if matches!(verb, Verb::Start | Verb::Stop) {
            return self.program(&action, verb, list);
        }
        let Some(parameter) = self.parameter(&action, verb) else { return };
        let action = Action { verbs: vec![verb], parameter, expected: action.expected };
        let written = action.to_string();
        match Action::parse(&written) {
            Ok(_) => list.texts.push(written),
            Err(error) => self.notes.left_out(self.setting, format!("left out: {error}")),
        }
    }

    /// Reads an action, and finds the verb by which it does something.
    fn read(&mut self, text: &str) -> Option<(Action, Verb)> {
        let parsed = Action::parse(text);
        let (action, doubt) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                self.notes.left_out(self.setting, format!("left out: {error}{hint}"));
                return None;
            }
        };
        let is_no_status = |action: &Action| {
            let is_http = action.verbs.iter().any(|verb| matches!(verb, Verb::Http | Verb::Https));
            let status =
                matches!(action.expected, Expected::Code(code) if (100..=599).contains(&code));
            is_http && !status
        };
        let (action, doubt) = match doubt {
            Some(doubt) if is_no_status(&action) => {
                let what = format!(
                    "the end of `{text}` is no http status: it stays with the address, where Angelize \
                     takes it for the expected result, which never comes"
                );
                self.notes.changed(self.setting, what);
                (Action::parse(&doubt.whole).map_or(action, |(whole, _)| whole), None)
            }
            doubt => (action, doubt),
        };
        if let Some(doubt) = doubt {
            self.notes.changed(self.setting, doubt.to_string());
        }
        let mut allowed = action.verbs.iter().copied().filter(|verb| self.which.allows(*verb));
        let first = allowed.clone().next();
        let Some(verb) = allowed.find(|verb| *verb != Verb::Service).or(first) else {
            let text =
                format!("left out: `{text}` has no meaning there, and Angelize passes over it");
            self.notes.left_out(self.setting, text);
            return None;
        };
        self.note_verb(text, &action, verb);
        Some((action, verb))
    }

    fn note_verb(&mut self, text: &str, action: &Action, verb: Verb) {
        if action.verbs.len() > 1 {
            let text = format!("of `{text}` only `{verb}` is taken, as Angelize does on Linux");
            self.notes.changed(self.setting, text);
        }
        if verb == Verb::Service {
            let text = format!(
                "`{text}` is about a unit of systemd here; Angelize means a service of Windows, and \
                 passes over it on Linux"
            );
            self.notes.changed(self.setting, text);
        }
        let number =
            self.service.run.rsplit_once('=').is_some_and(|(_, n)| n.parse::<i32>().is_ok());
        if number && action.parameter.to_lowercase().contains("%run%") {
            let text = format!(
                "`{text}`: Angelize cuts the number behind the last `=` off what `%run%` stands for; \
                 here it stays"
            );
            self.notes.changed(self.setting, text);
        }
    }

    /// `start` and `stop`: Angelize takes one program per service.
    fn program(&mut self, action: &Action, verb: Verb, list: &mut List) {
        if list.program.is_some() {
            let text = format!("left out: `{action}`, since a service has one program");
            return self.notes.left_out(self.setting, text);
        }
        list.program = Some(action.target().to_owned());
        list.texts.push(verb.to_string());
    }

    fn parameter(&mut self, action: &Action, verb: Verb) -> Option<String> {
        let command = matches!(verb, Verb::Exec | Verb::Wait);
        match self.known.in_list(&action.parameter) {
            Ok(parameter) => {
                let shell = command.then(|| shell_action(&parameter)).flatten();
                if shell.is_some() {
                    let text = format!("`{action}` needs a shell, and gets one");
                    self.notes.changed(self.setting, text);
                }
                Some(shell.unwrap_or(parameter))
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                let text = format!("left out: `{action}`: {error}{hint}");
                self.notes.left_out(self.setting, text);
                None
            }
        }
    }
}
