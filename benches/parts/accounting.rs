//! What the kernel says of processes.
//!
//! CPU time is read from a process's CPU clock (`clock_getcpuclockid`). It has all threads, those that have ended too, user and system,
//! to the nanosecond. `/proc/PID/stat` has the same in ticks of 10 ms, and `/proc/PID/task/*/schedstat` forgets threads that have ended.

use std::time::Duration;

use nix::unistd::Pid;

/// CPU time so far, in microseconds.
pub(crate) fn cpu(process: u32) -> f64 {
    let clock = nix::time::clock_getcpuclockid(Pid::from_raw(process.cast_signed())).unwrap();
    Duration::from(clock.now().unwrap()).as_secs_f64() * 1e6
}

/// Resident memory in bytes.
pub(crate) fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}
