//! Cores, CPU time and memory, as the kernel tells: /proc and the scheduler's affinity.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Fields of /proc/PID/stat, from 0 behind the program's name: user and system time in ticks.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
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
    /// The first core and the last, or none if there is only one, or not `wanted`.
    pub(crate) fn choose(wanted: bool) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
        let mut all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        Ok(match (all.next(), all.next_back()) {
            (Some(first), Some(last)) if wanted => Self { client: Some(first), peer: Some(last) },
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
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields[USER_TICKS].parse::<u64>()? + fields[SYSTEM_TICKS].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// How much of the machine somebody else used, as a part of 1: shows how far a figure can be trusted.
pub(crate) struct Others {
    started: (u64, u64),
    ours: Duration,
}

impl Others {
    /// Begins to look; `ours` is the CPU time that the measurement's own processes have used so far.
    pub(crate) fn watch(ours: Duration) -> anyhow::Result<Self> {
        Ok(Self { started: whole_machine()?, ours })
    }

    /// The part of all cores that was used by others since `watch`.
    pub(crate) fn share(&self, ours: Duration) -> anyhow::Result<f64> {
        let (busy, all) = whole_machine()?;
        let ticks = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND).as_secs_f64();
        let others = ticks(busy - self.started.0) - ours.saturating_sub(self.ours).as_secs_f64();
        Ok((others / ticks(all - self.started.1).max(0.01)).clamp(0.0, 1.0))
    }
}

/// Ticks of all cores: busy, and altogether.
fn whole_machine() -> anyhow::Result<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
    let fields = line.split_whitespace().take(DISJOINT).map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let all = fields.iter().sum();
    let idle: u64 = IDLE.iter().map(|field| fields[*field]).sum();
    Ok((all - idle, all))
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
