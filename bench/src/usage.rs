//! What this program and the servers below it cost: CPU seconds and resident memory, from `/proc`.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use serde::Serialize;

/// Linux counts CPU time in hundredths of a second towards programs, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one kind of process used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Resident memory now, in MiB.
    pub(crate) resident_mib: f64,
}

/// By program name; several processes of one program are added up.
pub(crate) type Usages = BTreeMap<String, Usage>;

/// This process and all that descend from it. Empty where there is no `/proc`.
pub(crate) fn now() -> Usages {
    let processes: HashMap<u32, Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect();
    let own = std::process::id();
    let mut usages = Usages::new();
    for (pid, process) in &processes {
        if descends(*pid, own, &processes) {
            let usage: &mut Usage = usages.entry(process.name.clone()).or_default();
            usage.cpu_seconds += process.ticks / TICKS_PER_SECOND;
            usage.resident_mib += process.resident_kib / 1_024.0;
        }
    }
    usages
}

/// Resident memory of this process, in MiB; 0 where there is no `/proc`.
pub(crate) fn own_resident_mib() -> f64 {
    resident_mib(std::process::id())
}

/// Resident memory of a process, in MiB; 0 if it has ended, or there is no `/proc`.
pub(crate) fn resident_mib(process: u32) -> f64 {
    Process::read(process).map_or(0.0, |process| process.resident_kib / 1_024.0)
}

/// CPU time since `before`, memory as it is now. Who used none is left out.
pub(crate) fn since(before: &Usages) -> Usages {
    let mut usages = now();
    for (name, usage) in &mut usages {
        usage.cpu_seconds -= before.get(name).map_or(0.0, |before| before.cpu_seconds);
    }
    usages.retain(|_, usage| usage.cpu_seconds >= 1.0 / TICKS_PER_SECOND);
    usages
}

struct Process {
    name: String,
    parent: u32,
    ticks: f64,
    resident_kib: f64,
}

impl Process {
    /// `None`: it ended meanwhile.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        // After the name: state, parent, …; user and system time are fields 14 and 15 of all.
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Some(Self {
            name,
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
            resident_kib: resident.unwrap_or(0.0),
        })
    }
}

fn descends(mut pid: u32, ancestor: u32, processes: &HashMap<u32, Process>) -> bool {
    // A process may end and its number be given again while they are read: never go in circles.
    for _ in 0..processes.len() {
        if pid == ancestor {
            return true;
        }
        match processes.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    false
}
