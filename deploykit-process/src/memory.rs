//! Giving back memory that a process which only waits does not need.

/// Gives back memory that is free, and lets go of the pages of this program's code and of its libraries:
/// beginning has touched much that waiting does not need. Those that are needed come back from the page
/// cache, one by one. What it cannot let go of stays.
pub fn let_go() {
    trim();
    let_go_of_code();
}

/// What was freed is kept for what comes next, by each thread for itself (malloc_trim(3)).
#[allow(unsafe_code, reason = "std has no way to the allocator of the system")]
fn trim() {
    // SAFETY: it may be called at any time by any thread, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

fn let_go_of_code() {
    for line in std::fs::read_to_string("/proc/self/maps").unwrap_or_default().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp"), Some(_), Some(_), Some(inode)) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // Only what a file is behind of can come back.
        let range = range.split_once('-').filter(|_| inode != "0").and_then(|(begin, end)| {
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some((number(begin)?, number(end)?))
        });
        if let Some((begin, end)) = range {
            forget(begin, end);
        }
    }
}

#[allow(unsafe_code, reason = "there is no safe way to tell the kernel what is not needed")]
fn forget(begin: usize, end: usize) {
    let advice = rustix::mm::Advice::LinuxDontNeed;
    // SAFETY: a private mapping of a file that nobody may write to through it has no pages but those of the
    // file, which come back unchanged (madvise(2), MADV_DONTNEED); the kernel refuses to write to the file
    // of a program that runs.
    let _ = unsafe { rustix::mm::madvise(begin as *mut _, end - begin, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_code = false;
        let mut sum = 0;
        for line in text.lines() {
            if line.contains(" r-xp ") {
                is_code = !line.contains(" 00:00 0 ");
            } else if !line.contains(':') || line.contains(" r--p ") || line.contains(" rw-p ") {
                is_code = false;
            }
            if let (true, Some(rest)) = (is_code, line.strip_prefix("Rss:")) {
                sum += rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        sum
    }

    #[test]
    fn code_is_let_go_of_and_comes_back() {
        // Something is done first that is not done again.
        let sorted = {
            let mut all: Vec<u64> = (0..5000).rev().collect();
            all.sort_unstable();
            all
        };
        let before = code();
        let_go();
        let after = code();
        assert!(before > 0 && after < before, "{before} kB, then {after} kB");
        assert_eq!(sorted.first(), Some(&0));
    }
}
