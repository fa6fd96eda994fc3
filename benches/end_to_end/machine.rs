//! Cores, CPU time and memory, as the kernel tells: /proc and the scheduler's affinity.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use super::options::Pin;

/// Fields of /proc/PID/stat, from 0 behind the program's name: user and system time in ticks.
const OWN_TICKS: [usize; 2] = [11, 12];
/// The same for its children that have ended and been waited for.
const CHILDREN_TICKS: [usize; 2] = [13, 14];
/// `USER_HZ` of every Linux architecture that Rust's std runs on but Alpha and Itanium.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of a line of /proc/diskstats: flush requests completed.
const FLUSHES: usize = 17;
/// Fields of the first line of /proc/stat, from 0 behind `cpu`: idle and waiting for a disk.
const IDLE: [usize; 2] = [3, 4];
/// Of those fields, how many are no part of others.
const DISJOINT: usize = 8;

/// What the figures were measured on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Description {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

/// The machine, as far as it tells.
pub(crate) fn description() -> Description {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Description {
        cpu: cpu.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// Which core the client (daemon or limit) gets and which the peer; `None`: the system decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) client: Option<usize>,
    pub(crate) peer: Option<usize>,
}

impl Cores {
    /// The first core and the last; none where there is only one.
    pub(crate) fn choose(pin: Pin) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
        let mut all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        Ok(match (all.next(), all.next_back()) {
            (Some(first), Some(last)) => {
                Self { client: (pin == Pin::Both).then_some(first), peer: (pin != Pin::None).then_some(last) }
            }
            _ => Self { client: None, peer: None },
        })
    }
}

/// Starts `command` on one core: a child inherits what its parent's thread may use.
pub(crate) fn spawn_on(core: Option<usize>, command: &mut Command) -> anyhow::Result<std::process::Child> {
    let Some(core) = core else { return Ok(command.spawn()?) };
    let before = sched_getaffinity(None).context("sched_getaffinity")?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).context("sched_setaffinity")?;
    let spawned = command.spawn();
    sched_setaffinity(None, &before).context("sched_setaffinity")?;
    Ok(spawned?)
}

/// CPU time of a process and of its threads that have ended, user and system.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    ticks_of(&pid.to_string(), &OWN_TICKS)
}

fn ticks_of(process: &str, which: &[usize]) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = which.iter().map(|field| fields[*field].parse::<u64>()).sum::<Result<u64, _>>()?;
    Ok(ticks_to_time(ticks))
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// CPU time of a process's living threads, to the nanosecond: for what takes less than a tick.
pub(crate) fn fine_cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += schedstat.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// `VmRSS`: now.
    pub(crate) resident: f64,
    /// `VmHWM`: the most so far.
    pub(crate) peak: f64,
}

/// Reads it.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mebibytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("/proc/PID/status")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        anyhow::Ok(kibibytes / 1024.0)
    };
    Ok(Memory { resident: mebibytes("VmRSS:")?, peak: mebibytes("VmHWM:")? })
}

/// How much of the machine others used meanwhile: shows how far a figure can be trusted.
pub(crate) struct Others {
    busy: Duration,
    all: Duration,
    ours: Duration,
}

impl Others {
    /// Begins to look; every child of this process has been waited for.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let (busy, all) = whole_machine()?;
        Ok(Self { busy, all, ours: family()? })
    }

    /// The part of all cores' time, 0 to 1, that others used since; every child has been waited for again.
    pub(crate) fn share(&self) -> anyhow::Result<f64> {
        let (busy, all) = whole_machine()?;
        let ours = family()?.saturating_sub(self.ours);
        let others = busy.saturating_sub(self.busy).saturating_sub(ours);
        Ok((others.as_secs_f64() / all.saturating_sub(self.all).as_secs_f64().max(0.01)).min(1.0))
    }
}

/// CPU time of this process and of its children that have ended.
fn family() -> anyhow::Result<Duration> {
    Ok(ticks_of("self", &OWN_TICKS)? + ticks_of("self", &CHILDREN_TICKS)?)
}

/// Time of all cores: busy, and altogether.
fn whole_machine() -> anyhow::Result<(Duration, Duration)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
    let fields = line.split_whitespace().take(DISJOINT).map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let all: u64 = fields.iter().sum();
    let idle: u64 = IDLE.iter().map(|field| fields[*field]).sum();
    Ok((ticks_to_time(all - idle), ticks_to_time(all)))
}

/// Flush requests that the disks have completed: each durable commit ends in one.
pub(crate) fn disk_flushes() -> anyhow::Result<u64> {
    let stats = std::fs::read_to_string("/proc/diskstats")?;
    Ok(stats
        .lines()
        .filter_map(|line| line.split_whitespace().nth(FLUSHES))
        .filter_map(|count| count.parse::<u64>().ok())
        .sum())
}

/// Whether a durable write in `folder` can be seen in [`disk_flushes`]: not with every disk.
pub(crate) fn flushes_show(folder: &Path) -> anyhow::Result<bool> {
    const WRITES: u64 = 5;
    let file = tempfile::tempfile_in(folder)?;
    let before = disk_flushes()?;
    for write in 0..WRITES {
        std::os::unix::fs::FileExt::write_all_at(&file, b"tresorpayd", write * 4096)?;
        file.sync_data()?;
    }
    Ok(disk_flushes()? >= before + WRITES)
}

/// Sends SIGTERM.
pub(crate) fn terminate(pid: u32) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        bail!("no such process: {pid}")
    };
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("kill")
}
