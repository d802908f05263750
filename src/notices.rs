//! Telling whom `[notify]` names of what happens to the services that run under a supervisor.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use deploykit_core::{Application, Layout, Masker, Message, Timestamp, Topic, state};
use deploykit_notify::{Letter, Outbox, OutboxError};
use deploykit_process::LastWords;
use deploykit_process::machine::News;
use serde_json::json;

/// Tells whom `[notify]` names of what happens to services: what a [`Supervision`](crate::supervisor::Supervision)
/// says is handed over, and nobody waits for anything.
///
/// ```no_run
/// use std::time::Duration;
///
/// use deploykit::supervisor::{Happening, Supervision};
/// use deploykit::{Application, notify::Notices};
///
/// let application = Application::at("/srv/app").registry(deploykit::registry()).open()?;
/// let (sender, happened) = std::sync::mpsc::channel();
/// let supervision =
///     Supervision::begin(&application, None, move |what| drop(sender.send(what)))?;
/// // Nobody else supervises the application now: what another one has not told is told here.
/// let notices = Notices::begin(&application, |trouble| eprintln!("{trouble}"))?;
/// supervision.start_active(&application)?;
/// for what in happened {
///     match what {
///         Happening::News { instance, news, last_words } => {
///             notices.happened(&instance, &news, last_words);
///         }
///         Happening::EndAsked | Happening::Over => break,
///         _ => {}
///     }
/// }
/// supervision.end(&|| false);
/// notices.end(Duration::from_secs(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Notices {
    outbox: Outbox,
    layout: Layout,
    masker: Masker,
    host: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why each was found not to be well: it ends because of that.
    unwell: BTreeMap<String, String>,
    /// How many there were.
    count: u64,
}

impl Notices {
    /// Begins, with what could not be told before. `on_trouble` is told of what goes wrong with the telling
    /// itself.
    ///
    /// # Errors
    /// When no thread or no descriptor is left.
    pub fn begin(
        application: &Application,
        on_trouble: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, OutboxError> {
        application.learn_secrets();
        Ok(Self {
            outbox: Outbox::open(application, on_trouble)?,
            layout: application.layout().clone(),
            masker: application.masker().clone(),
            host: state::host_name(),
            state: Mutex::default(),
        })
    }

    /// Something has happened to an instance. What nobody far away need know is passed over.
    pub fn happened(&self, instance: &str, news: &News, last_words: LastWords) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = news.topic() else {
            match news {
                News::Unwell { why } => drop(state.unwell.insert(instance.to_owned(), why.clone())),
                News::Started { .. } => drop(state.unwell.remove(instance)),
                _ => {}
            }
            return;
        };
        let unwell = match topic {
            Topic::ExitedRetry | Topic::ExitedNoRetry => state.unwell.remove(instance),
            _ => None,
        };
        state.count += 1;
        let told = Told {
            at: Timestamp::now(),
            topic,
            instance: instance.to_owned(),
            news: news.clone(),
            unwell,
            number: state.count,
        };
        drop(state);
        let (layout, masker, host) = (self.layout.clone(), self.masker.clone(), self.host.clone());
        self.outbox.tell(move || {
            let release = active(&layout);
            told.letter(&layout, &masker, host, release.as_deref(), &last_words)
        });
    }

    /// Tells those from now on whom this configuration names.
    pub fn renew(&self, application: &Application) {
        application.learn_secrets();
        self.outbox.renew(application);
    }

    /// Tells what is held back, and tries once more what could not be told, for so long at the most. What is
    /// not told then is kept for the next time.
    pub fn end(&self, longest: Duration) {
        self.outbox.end(longest);
    }
}

/// The release to which the active link leads.
fn active(layout: &Layout) -> Option<String> {
    let to = layout.active_link().read_link_utf8().ok()?;
    to.file_name().map(str::to_owned)
}

/// What is told.
#[derive(Debug)]
struct Told {
    at: Timestamp,
    topic: Topic,
    instance: String,
    news: News,
    unwell: Option<String>,
    number: u64,
}

impl Told {
    fn letter(
        self,
        layout: &Layout,
        masker: &Masker,
        host: String,
        release: Option<&str>,
        last_words: &LastWords,
    ) -> Letter {
        let mask = |text: &str| masker.mask(text).into_owned();
        let is_over = matches!(self.topic, Topic::Recovered | Topic::WatchRecovered);
        let lines = if is_over { Vec::new() } else { last_words.lines() };
        let lines: Vec<String> = lines.iter().map(|line| mask(&clean(line))).collect();
        let what = mask(&self.what());
        let service = self.instance.rsplit_once('@').map_or(&*self.instance, |(name, _)| name);
        let (watch, why) = self.reasons();
        let story = json!({
            "format": state::NOTICE_FORMAT,
            "event": "service",
            "topic": self.topic,
            "application": layout.root(),
            "host": host,
            "at": self.at,
            "service": service,
            "instance": self.instance,
            "release": release,
            "what": what,
            "why": why.map(mask),
            "watch": watch.map(mask),
            "last_lines": lines,
            "times": 1,
            "since": null,
        });
        let variables = [
            ("DEPLOYKIT_APP", layout.root().as_str()),
            ("DEPLOYKIT_EVENT", "service"),
            ("DEPLOYKIT_TOPIC", self.topic.as_str()),
            ("DEPLOYKIT_SERVICE", service),
            ("DEPLOYKIT_INSTANCE", &*self.instance),
            ("DEPLOYKIT_RELEASE", release.unwrap_or_default()),
        ];
        let variables = variables.into_iter().filter(|(_, value)| !value.is_empty());
        let message = Message {
            id: format!("service-{}-{}", started(), self.number),
            topic: self.topic,
            at: self.at,
            application: layout.root().to_owned(),
            name: self.instance.clone(),
            what,
            text: text(release, &lines),
            variables: variables.map(|(name, value)| (name.into(), value.into())).collect(),
            host,
            story,
        };
        Letter { message, service: Some(service.to_owned()) }
    }

    fn what(&self) -> String {
        match (&self.unwell, self.topic) {
            (Some(why), Topic::ExitedRetry) => {
                format!("was not well, and is started again: {why}")
            }
            (Some(why), _) => format!("{} (it was not well: {why})", self.news),
            (None, _) => self.news.to_string(),
        }
    }

    /// The watch that it is about, and why it has ended or does not answer.
    fn reasons(&self) -> (Option<&str>, Option<&str>) {
        match &self.news {
            News::ExitedRetry { why } | News::ExitedNoRetry { why } => {
                (None, Some(self.unwell.as_deref().unwrap_or(why)))
            }
            News::WatchFailed { watch, why } => (Some(watch), Some(why)),
            News::WatchRecovered { watch } => (Some(watch), None),
            _ => (None, None),
        }
    }
}

fn text(release: Option<&str>, lines: &[String]) -> String {
    let mut text = release.map(|id| format!("Release: {id}\n")).unwrap_or_default();
    if !lines.is_empty() {
        text.push_str("\nIts last lines on standard error:\n");
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

/// Without what a terminal would take for a command.
fn clean(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// When this process began to tell, in milliseconds: two of them never give one number twice.
fn started() -> u128 {
    static STARTED: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    *STARTED.get_or_init(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap_or_default().as_millis()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(news: News, unwell: Option<&str>) -> Letter {
        let told = Told {
            at: Timestamp::from_millis(0),
            topic: news.topic().expect("it is told"),
            instance: "web@2".to_owned(),
            news,
            unwell: unwell.map(str::to_owned),
            number: 7,
        };
        let masker = Masker::default();
        masker.learn(&deploykit_core::Secret::new("hunter2"));
        let layout = Layout::new("/srv/shop".into());
        let release = Some("20261121-184548-1fd686672df4");
        told.letter(&layout, &masker, "web1".to_owned(), release, &LastWords::default())
    }

    #[test]
    fn why_it_ended_is_told_and_no_secret() {
        let why = "exited with hunter2".to_owned();
        let letter = letter(News::ExitedNoRetry { why }, None);
        assert_eq!(letter.service.as_deref(), Some("web"));
        assert_eq!(letter.message.subject(), "web1 shop: web@2 stays down: exited with ***");
        assert_eq!(letter.message.story["why"], "exited with ***");
        assert!(letter.message.text.contains("20261121-184548-1fd686672df4"));
    }

    #[test]
    fn what_was_ended_because_it_was_not_well_says_that_and_not_how_it_ended() {
        let why = "ended by signal 15 (SIGTERM)".to_owned();
        let letter = letter(News::ExitedRetry { why }, Some("it was not ready within 90 s"));
        let what = "was not well, and is started again: it was not ready within 90 s";
        assert_eq!(letter.message.what, what);
        assert_eq!(letter.message.story["why"], "it was not ready within 90 s");
    }
}
