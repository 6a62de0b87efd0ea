//! Measuring and printing.

use std::time::Duration;

/// Prints figures as they come.
pub struct Report {
    json: bool,
}

impl Report {
    /// A report for people, or for programs.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Begins a part.
    pub fn part(&self, title: &str) {
        if !self.json {
            println!("\n{title}");
        }
    }

    /// A line of figures.
    pub fn line(&mut self, name: &str, figures: &[(&str, f64, &str)]) {
        if self.json {
            let members: Vec<String> =
                figures.iter().map(|(key, value, unit)| format!("\"{key} ({unit})\":{value:.6}")).collect();
            println!("{{\"name\":\"{name}\",{}}}", members.join(","));
        } else {
            let members: Vec<String> =
                figures.iter().map(|(key, value, unit)| format!("{key} {} {unit}", short(*value))).collect();
            println!("  {name:<34} {}", members.join("   "));
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => {
            let whole = format!("{value:.0}");
            let digits = whole.len();
            whole
                .chars()
                .enumerate()
                .flat_map(|(i, c)| ((i > 0 && (digits - i) % 3 == 0).then_some(',')).into_iter().chain([c]))
                .collect()
        }
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The `p`-th part of sorted times, in milliseconds.
pub fn quantile(sorted: &[Duration], p: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let index = ((sorted.len() - 1) as f64 * p).round() as usize;
    sorted[index].as_secs_f64() * 1e3
}

/// CPU time of this process, user and system, in seconds.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of proc(5), in ticks of 1/100 s on Linux.
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of this process, in MiB.
pub fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Bytes of the files below a directory.
pub fn dir_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => dir_bytes(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A fresh directory on the disk that is measured (`CPD_BENCH_DIR`, else the temporary directory).
pub fn fresh_dir() -> tempfile::TempDir {
    let base = std::env::var_os("CPD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::Builder::new().prefix("cpd-bench-").tempdir_in(base).expect("a directory to measure in")
}

/// The median time of an `fdatasync` after a small write into a file that is there already, in milliseconds.
pub fn sync_ms() -> f64 {
    use std::os::unix::fs::FileExt;
    let dir = fresh_dir();
    let file = std::fs::File::create(dir.path().join("sync")).expect("a file");
    file.write_all_at(&vec![0; 4 << 20], 0).expect("zeros");
    file.sync_all().expect("a sync");
    let mut times: Vec<Duration> = (0..1_000)
        .map(|i| {
            let begin = std::time::Instant::now();
            file.write_all_at(&[b'x'; 400], i * 400).expect("a write");
            file.sync_data().expect("a sync");
            begin.elapsed()
        })
        .collect();
    times.sort();
    quantile(&times, 0.5)
}
