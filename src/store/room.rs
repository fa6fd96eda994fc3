//! Room on a file system: one look for whoever asks. What a user's quota leaves is not seen; only a write tells.

use std::{io, path::Path};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::error::Trouble;

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that a user without privileges may still write.
    pub free: u64,
    /// It takes no writes.
    pub read_only: bool,
    /// Not one file more can be made there.
    pub no_more_files: bool,
}

impl Room {
    /// Below this a database stops growing within hours, in bytes.
    pub const LITTLE: u64 = 64 << 20;
    /// Below this the next commits may not find what they need, in bytes: a write-ahead log of the usual few MiB, and as
    /// much again where it is written back.
    pub const NEEDED: u64 = 8 << 20;

    /// On the file system of `path`; nothing is opened.
    pub fn of(path: &Path) -> io::Result<Self> {
        let system = statvfs(path)?;
        // One without a limit says 0 of 0.
        let limited = system.f_blocks > 0;
        Ok(Self {
            free: if limited { system.f_bavail.saturating_mul(system.f_frsize) } else { u64::MAX },
            read_only: system.f_flag.contains(StatVfsMountFlags::RDONLY),
            no_more_files: system.f_files > 0 && system.f_favail == 0,
        })
    }

    /// Why a database there may take no more writes, as the code that a refused one would have.
    pub fn trouble(&self) -> Option<&'static str> {
        let trouble = match self {
            Self { read_only: true, .. } => Trouble::ReadOnly,
            Self { free, .. } if *free < Self::NEEDED => Trouble::Full,
            Self { .. } => return None,
        };
        Some(trouble.code())
    }
}
