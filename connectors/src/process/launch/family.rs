//! The descendants of the guardian, as `/proc` shows them: who they are and what memory they hold.
//!
//! Everything here is a look at something that moves: a process may be gone when its files are read, and then it counts for
//! nothing. Nothing is decided here.

use std::fs;
use std::str::FromStr;

/// A descendant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub pid: i32,
    /// Memory of its own: anonymous pages and shared memory, without mapped files and programs.
    pub bytes: u64,
}

/// The descendants of `root`, without itself; `most` of them are enough.
pub(super) fn of(root: i32, most: usize) -> Vec<Member> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children(pid) {
            if found.len() >= most {
                return found;
            }
            // The dead that nobody has waited for yet are members, too, and hold nothing.
            found.push(Member { pid: child, bytes: memory(child) });
            open.push(child);
        }
    }
    found
}

/// The children of every thread of `pid`.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Anonymous and shared memory in bytes.
fn memory(pid: i32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let kilobytes = status.lines().filter_map(|line| {
        let amount = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        u64::from_str(amount.split_whitespace().next()?).ok()
    });
    kilobytes.sum::<u64>().saturating_mul(1024)
}

/// How many threads there are on the machine: an upper bound for those of one user.
pub(super) fn threads_of_the_machine() -> Option<u64> {
    let line = fs::read_to_string("/proc/loadavg").ok()?;
    line.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_with_its_memory_and_a_stranger_is_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let family = of(me, 1000);
        assert!(family.iter().any(|m| m.pid == pid && m.bytes > 0), "{family:?}");
        assert!(family.iter().all(|m| m.pid != 1 && m.pid != me), "{family:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(of(me, 1000).iter().all(|m| m.pid != pid));
        assert!(threads_of_the_machine().unwrap() > 1);
    }
}
