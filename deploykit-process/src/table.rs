//! What runs on the host, and which of it belongs to a service.

use std::collections::{HashMap, HashSet};

/// The variable by which a process tells to which instance it belongs, its children too, unless they
/// clear their environment.
pub const MARKER: &str = "DEPLOYKIT_INSTANCE";

/// The variable by which a process tells whose manager has started it.
pub const SCOPE: &str = "DEPLOYKIT_APPLICATION";

/// What is known of a process; see proc(5), `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// The process that leads its session.
    pub session: u32,
    /// When it was started, in ticks since the boot: with its number it is told from all others.
    pub start: u64,
    /// It has ended, and nobody has taken note yet.
    pub is_dead: bool,
    /// How it has ended, as waitpid(2) tells it; 0 as long as it has not, and for whom that is not meant.
    pub status: Option<i32>,
}

/// Everything that runs.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn all() -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        rows.extend(pid.and_then(row));
    }
    Ok(rows)
}

/// One process; nothing when there is none of that number.
pub fn row(pid: u32) -> Option<Row> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: u32, stat: &str) -> Option<Row> {
    // Its name, in parentheses, may contain whatever separates fields.
    let rest = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Row {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
        status: fields.get(49).and_then(|field| field.trim_end().parse().ok()),
    })
}

/// What the process says that it belongs to; nothing where it does not say, or may not be asked.
pub fn marker(pid: u32) -> Option<String> {
    variable(pid, MARKER)
}

/// Whether a process says that a manager of this name has started it.
pub fn is_of_scope(pid: u32, scope: &str) -> bool {
    variable(pid, SCOPE).as_deref() == Some(scope) && marker(pid).is_some()
}

/// A variable of the environment that a process was started with.
fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}

/// The children of a process, those that have ended too.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_each = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let texts: std::io::Result<Vec<String>> = of_each.collect();
    match texts {
        Ok(texts) => {
            texts.iter().flat_map(|text| text.split_whitespace()).flat_map(str::parse).collect()
        }
        // Kernels may have been built without that file, and a thread may just have ended.
        Err(_) => {
            let rows = all().unwrap_or_default();
            rows.iter().filter(|row| row.parent == pid).map(|row| row.pid).collect()
        }
    }
}

/// What the processes of a manager that is gone have left: those that say that they belong to it, what
/// shares a session with such a one, and what any of these has started. Neither `own`, this process, nor
/// what it descends from, nor its session.
pub fn of_scope(rows: &[Row], own: u32, belongs: &dyn Fn(u32) -> bool) -> Vec<Row> {
    let by_pid: HashMap<u32, &Row> = rows.iter().map(|row| (row.pid, row)).collect();
    let mut spared = HashSet::from([own, 0, 1]);
    let mut next = by_pid.get(&own);
    while let Some(row) = next.filter(|row| spared.insert(row.parent)) {
        next = by_pid.get(&row.parent);
    }
    let session = by_pid.get(&own).map(|row| row.session);
    let is_meant =
        |row: &&Row| !row.is_dead && !spared.contains(&row.pid) && Some(row.session) != session;
    let candidates: Vec<&Row> = rows.iter().filter(is_meant).collect();
    let mut found: HashSet<u32> =
        candidates.iter().map(|row| row.pid).filter(|pid| belongs(*pid)).collect();
    let sessions: HashSet<u32> =
        candidates.iter().filter(|row| found.contains(&row.pid)).map(|row| row.session).collect();
    found
        .extend(candidates.iter().filter(|row| sessions.contains(&row.session)).map(|row| row.pid));
    loop {
        let more: Vec<u32> = candidates
            .iter()
            .filter(|row| found.contains(&row.parent) && !found.contains(&row.pid))
            .map(|row| row.pid)
            .collect();
        if more.is_empty() {
            return candidates
                .into_iter()
                .filter(|row| found.contains(&row.pid))
                .copied()
                .collect();
        }
        found.extend(more);
    }
}

/// What belongs to services that run: their main processes, by number and mark, what shares a session or a
/// mark with one, and what any of these has started.
pub(crate) fn belonging(
    rows: &[Row],
    running: &[(u32, String)],
    marker: &dyn Fn(u32) -> Option<String>,
) -> HashSet<u32> {
    let sessions: HashSet<u32> = running.iter().map(|(pid, _)| *pid).collect();
    let marks: HashSet<&str> = running.iter().map(|(_, mark)| mark.as_str()).collect();
    let is_of_it = |row: &&Row| {
        sessions.contains(&row.session)
            || marker(row.pid).is_some_and(|mark| marks.contains(mark.as_str()))
    };
    let mut found: HashSet<u32> = rows.iter().filter(is_of_it).map(|row| row.pid).collect();
    loop {
        let is_new = |row: &&Row| found.contains(&row.parent) && !found.contains(&row.pid);
        let more: Vec<u32> = rows.iter().filter(is_new).map(|row| row.pid).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// What a service has left: its main process, which led its session, and its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The number of the main process.
    pub pid: u32,
    /// The mark in the environment.
    pub marker: String,
}

/// Which of the processes belong to these services: those of their sessions, what such a one has
/// started, and what has lost its parent (so that it has become a child of `init` or of `own`, this
/// process) and says so. The process `own` itself is never one.
pub fn left(
    rows: &[Row],
    ended: &[Ended],
    own: u32,
    marker: &dyn Fn(u32) -> Option<String>,
) -> Vec<(usize, Row)> {
    let alive = || rows.iter().filter(|row| !row.is_dead && row.pid != own);
    // One that leads a session of that number now is another one: the main process is gone.
    let taken: HashSet<u32> = alive().map(|row| row.pid).collect();
    let by_session: HashMap<u32, usize> = ended
        .iter()
        .enumerate()
        .filter(|(_, ended)| !taken.contains(&ended.pid))
        .map(|(index, ended)| (ended.pid, index))
        .collect();
    let by_marker: HashMap<&str, usize> =
        ended.iter().enumerate().map(|(index, ended)| (ended.marker.as_str(), index)).collect();
    let mut owner: HashMap<u32, usize> = HashMap::new();
    for row in alive() {
        let found = by_session.get(&row.session).copied().or_else(|| {
            let is_orphan = row.parent == 1 || row.parent == own;
            let mark = if is_orphan { marker(row.pid) } else { None };
            mark.and_then(|mark| by_marker.get(&*mark).copied())
        });
        owner.extend(found.map(|index| (row.pid, index)));
    }
    // What they have started, however deep.
    let mut fresh: HashSet<u32> = owner.keys().copied().collect();
    while !fresh.is_empty() {
        let children: Vec<(u32, usize)> = alive()
            .filter(|row| fresh.contains(&row.parent) && !owner.contains_key(&row.pid))
            .filter_map(|row| Some((row.pid, *owner.get(&row.parent)?)))
            .collect();
        fresh = children.iter().map(|(pid, _)| *pid).collect();
        owner.extend(children);
    }
    alive().filter_map(|row| Some((*owner.get(&row.pid)?, *row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, session: u32) -> Row {
        Row { pid, parent, session, start: u64::from(pid), is_dead: false, status: None }
    }

    #[test]
    fn what_belongs_to_a_service_is_found_by_session_by_parent_and_by_its_mark() {
        let rows = [
            process(1, 0, 1),
            process(50, 1, 50),
            // In the session of the first, whose leader has ended.
            process(101, 50, 100),
            // It has made a session of its own, and so has its child.
            process(102, 101, 102),
            process(103, 102, 103),
            // An orphan in a session of its own that has kept its environment.
            process(200, 1, 200),
            process(201, 50, 201),
            // The same, but of a service that runs on.
            process(300, 50, 300),
            // A stranger with the same mark whose parent lives: whoever copied it.
            process(400, 399, 400),
            Row { is_dead: true, ..process(104, 50, 100) },
        ];
        let ended =
            [Ended { pid: 100, marker: "a".into() }, Ended { pid: 199, marker: "b".into() }];
        let marker = |pid| match pid {
            200 | 201 | 400 => Some("b".to_owned()),
            300 => Some("c".to_owned()),
            _ => None,
        };
        let found = left(&rows, &ended, 50, &marker);
        let pids: Vec<_> = found.iter().map(|(index, row)| (*index, row.pid)).collect();
        assert_eq!(pids, [(0, 101), (0, 102), (0, 103), (1, 200), (1, 201)]);
    }

    #[test]
    fn what_a_manager_has_left_is_found_and_neither_this_process_nor_what_it_came_from() {
        let rows = [
            process(1, 0, 1),
            // A shell within a service, and this process in it.
            process(10, 1, 10),
            process(50, 10, 50),
            process(51, 50, 50),
            // A service, what it has started, and one that has left its session and its environment.
            process(100, 1, 100),
            process(101, 100, 100),
            process(102, 101, 102),
            process(200, 1, 200),
        ];
        let found = of_scope(&rows, 50, &|pid| [10, 51, 101].contains(&pid));
        let pids: Vec<_> = found.iter().map(|row| row.pid).collect();
        assert_eq!(pids, [100, 101, 102]);
    }

    #[test]
    fn a_session_of_the_same_number_that_somebody_else_leads_by_now_is_left_alone() {
        let rows = [process(100, 1, 100), process(101, 100, 100)];
        let ended = [Ended { pid: 100, marker: "a".into() }];
        assert_eq!(left(&rows, &ended, 50, &|_| None), []);
    }

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "42 (a) R (b ) S 7 42 41 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 9001 0 0";
        let row = parse(42, stat).unwrap();
        assert_eq!(
            row,
            Row { pid: 42, parent: 7, session: 41, start: 9001, is_dead: false, status: None }
        );
        let own = super::row(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(all().unwrap().contains(&own));
    }
}
