//! What the figures were measured on.

use std::fs::read_to_string;
use std::path::Path;

/// Processor, cores, memory, kernel and file system, one line.
#[must_use]
pub fn machine_facts(data: &Path) -> String {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let model = field(&cpu, "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal").unwrap_or_default();
    let gibibytes =
        memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20;
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = file_system(data).unwrap_or_else(|| "unknown".into());
    format!("{model}, {cores} cores, {gibibytes} GiB, Linux {}, data on {system}", kernel.trim())
}

/// The type of the longest mount point above `data`.
fn file_system(data: &Path) -> Option<String> {
    let data = data.canonicalize().ok()?;
    let mounts = read_to_string("/proc/self/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        data.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}
