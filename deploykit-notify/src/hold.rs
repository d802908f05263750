//! Holding back what is told again and again. Pure.
//!
//! The first of its kind is told at once. What is like it and comes within the time is counted; when the
//! time is over, the last of these is told with the count, and the time begins anew. When nothing came, the
//! next one is a first again.
//!
//! What is told of one service stays in its order, so that the last that is heard of it is how it is:
//! whatever is told of it now takes along what was held back of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deploykit_core::Timestamp;

use crate::outbox::Letter;

/// So many different ones are remembered at the most; what comes beyond that is told.
const MOST: usize = 1000;

/// What was told, and what has come since.
#[derive(Debug)]
struct Window {
    /// The last of them.
    letter: Letter,
    until: Instant,
    /// How many came since the last that was told.
    held: u64,
    /// When that was told.
    since: Timestamp,
}

/// What is held back.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    windows: Vec<Window>,
}

impl Hold {
    /// Takes what is to be told: hands back what is to be told now.
    pub(crate) fn take(&mut self, letter: Letter, now: Instant, time: Duration) -> Vec<Letter> {
        if time.is_zero() {
            return vec![letter];
        }
        let like = |window: &&mut Window| window.letter.message.is_like(&letter.message);
        if let Some(window) = self.windows.iter_mut().find(like) {
            window.held += 1;
            window.letter = letter;
            return Vec::new();
        }
        let mut told = self.of(&letter.message.name, now + time);
        if self.windows.len() >= MOST {
            told.push(letter);
            return told;
        }
        let (until, since) = (now + time, letter.message.at);
        self.windows.push(Window { letter: letter.clone(), until, held: 0, since });
        told.push(letter);
        told
    }

    /// What is to be told now of that which was held back.
    pub(crate) fn due(&mut self, now: Instant, time: Duration) -> Vec<Letter> {
        let is_over = |window: &Window| window.until <= now;
        let has_more = |window: &&Window| is_over(window) && window.held > 0;
        let names: BTreeSet<String> = self
            .windows
            .iter()
            .filter(has_more)
            .map(|one| one.letter.message.name.clone())
            .collect();
        let due = names.iter().flat_map(|name| self.of(name, now + time)).collect();
        self.windows.retain(|window| !is_over(window));
        due
    }

    /// All that is held back of somebody, in its order. Their time begins anew.
    fn of(&mut self, name: &str, until: Instant) -> Vec<Letter> {
        let of_it = self.windows.iter_mut().filter(|window| window.letter.message.name == name);
        let counted = of_it.filter_map(|window| {
            let letter = window.count()?;
            window.until = until;
            Some(letter)
        });
        in_order(counted.collect())
    }

    /// All that is held back: nothing comes after it.
    pub(crate) fn end(&mut self) -> Vec<Letter> {
        let windows = std::mem::take(&mut self.windows);
        in_order(windows.into_iter().filter_map(|mut window| window.count()).collect())
    }

    /// When there is something to do next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.windows.iter().map(|window| window.until).min()
    }
}

fn in_order(mut letters: Vec<Letter>) -> Vec<Letter> {
    letters.sort_by_key(|letter| letter.message.at);
    letters
}

impl Window {
    /// The last one, with how many it stands for; nothing when none was held back.
    fn count(&mut self) -> Option<Letter> {
        let times = std::mem::take(&mut self.held);
        if times == 0 {
            return None;
        }
        let mut letter = self.letter.clone();
        let (since, message) = (self.since, &mut letter.message);
        if times > 1 {
            message.what = format!("{} ({times} times since {since})", message.what);
        }
        if let Some(story) = message.story.as_object_mut() {
            story.insert("times".to_owned(), times.into());
            story.insert("since".to_owned(), since.to_string().into());
        }
        self.since = message.at;
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::letter;

    const HOLD: Duration = Duration::from_secs(600);

    fn whats(letters: &[Letter]) -> Vec<&str> {
        letters.iter().map(|letter| &*letter.message.what).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_those_like_it_once_with_their_count() {
        let (mut hold, begin) = (Hold::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        for (name, what) in [("web@1", "exited with code 1"), ("web@2", "exited with code 1")] {
            assert_eq!(hold.take(letter(name, what), begin, HOLD).len(), 1);
        }
        for second in [10, 20, 30] {
            let again = letter("web@1", "exited with code 2");
            assert!(hold.take(again, after(second), HOLD).is_empty());
        }
        assert!(hold.due(after(599), HOLD).is_empty());
        assert_eq!(hold.next(), Some(after(600)));
        let due = hold.due(after(600), HOLD);
        let at = Timestamp::from_millis(0);
        assert_eq!(whats(&due), [format!("exited with code 2 (3 times since {at})")]);
        assert_eq!(due[0].message.story["times"], 3);
        // The other one had nothing more to say; this one goes on.
        assert_eq!(hold.next(), Some(after(1200)));
        assert!(hold.take(letter("web@1", "exited with code 1"), after(700), HOLD).is_empty());
        assert_eq!(whats(&hold.due(after(1200), HOLD)), ["exited with code 1"]);
        assert!(hold.due(after(1800), HOLD).is_empty());
        assert_eq!(hold.next(), None);
        assert_eq!(hold.take(letter("web@1", "exited with code 1"), after(1801), HOLD).len(), 1);
    }

    #[test]
    fn the_last_that_is_heard_of_a_service_is_how_it_is() {
        let (mut hold, begin) = (Hold::default(), Instant::now());
        let at = |name: &str, what: &str, second: i64| {
            let mut letter = letter(name, what);
            letter.message.at = Timestamp::from_millis(second * 1000);
            letter
        };
        for second in [0, 10, 20] {
            for (what, later) in [("exited", 0), ("runs again", 1)] {
                hold.take(at("web@1", what, second + later), begin, HOLD);
            }
            hold.take(at("web@2", "exited", second), begin, HOLD);
        }
        // It ends while that it runs is held back; of another service nothing is told.
        let told = hold.take(at("web@1", "stays down", 30), begin, HOLD);
        let since = Timestamp::from_millis(0);
        assert_eq!(told.len(), 3);
        assert_eq!(told[0].message.what, format!("exited (2 times since {since})"));
        assert!(told[1].message.what.starts_with("runs again"), "{}", told[1].message.what);
        assert_eq!(told[2].message.what, "stays down");
        // When a time is over, what has another is told with it.
        hold.take(at("web@1", "runs again", 41), begin, HOLD);
        hold.take(at("web@1", "exited", 40), begin, HOLD);
        let due = hold.due(begin + HOLD, HOLD);
        let of_one: Vec<&Letter> = due.iter().filter(|one| one.message.name == "web@1").collect();
        assert_eq!((due.len(), of_one[0].message.what.as_str()), (3, "exited"));
        assert_eq!(of_one[1].message.what, "runs again");
    }

    #[test]
    fn at_the_end_nothing_is_held_back_any_more() {
        let (mut hold, begin) = (Hold::default(), Instant::now());
        for _ in 0..3 {
            hold.take(letter("web@1", "exited with code 1"), begin, HOLD);
        }
        assert!(whats(&hold.end())[0].contains("2 times"));
        assert_eq!((hold.next(), hold.end().len()), (None, 0));
    }

    #[test]
    fn without_a_time_everything_is_told() {
        let (mut hold, begin) = (Hold::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(hold.take(letter("web@1", "x"), begin, Duration::ZERO).len(), 1);
        }
        assert_eq!(hold.next(), None);
    }
}
