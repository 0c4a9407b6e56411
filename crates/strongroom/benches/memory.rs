//! The peak memory of the program over its whole demo, with a large template. Prints a table in Markdown.
//!
//! `cargo bench -p strongroom --bench memory` with `-- 2048` for a template of 2048 MiB, which is the default.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that cannot be made has failed, and the program is started as a user starts it"
)]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The largest resident set so far, in KiB (`proc_pid_status(5)`); `None` when the process is gone.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn main() {
    let megabytes = std::env::args()
        .find_map(|a| a.parse::<u64>().ok())
        .unwrap_or(2048);
    let place = tempfile::tempdir().unwrap();
    let template = place.path().join("template.raw");
    let mut file = fs::File::create(&template).unwrap();
    let mut block: Vec<u8> = (0..1u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for number in 0..megabytes {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .arg("--state")
        .arg(place.path().join("state"))
        .args(["demo", "--template"])
        .arg(&template)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        // The kernel keeps the maximum: only what the last moment before the end adds could be missed.
        most = peak(child.id()).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    assert!(status.success(), "the demo failed: {status}");
    println!("| what | peak memory | time | asked for |\n|---|---|---|---|");
    println!(
        "| `strongroom demo` with a template of {megabytes} MiB | {:.1} MiB | {:.1} s | under 50 MiB |",
        most as f64 / 1024.0,
        begun.elapsed().as_secs_f64()
    );
}
