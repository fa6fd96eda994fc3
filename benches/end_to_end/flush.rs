//! What durability costs on this disk at the least: the flush that several requests share, with no database around it.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::mpsc};

use anyhow::Context;
use tokio::sync::oneshot;

/// A page of SQLite's, for each request.
const PAGE: [u8; 4096] = [0xA5; 4096];
/// Pages that exist already and are written over, round and round, as SQLite does with its WAL: a file that grows would
/// cost more.
const PAGES: u64 = 4096;

/// Requests wait here until what was written for them is on the disk.
#[derive(Clone)]
pub(crate) struct Flusher(mpsc::Sender<oneshot::Sender<()>>);

impl Flusher {
    /// Makes the file and starts the thread that flushes; it ends with the last handle.
    pub(crate) fn start(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| path.display().to_string())?;
        for page in 0..PAGES {
            write_page(&file, page)?;
        }
        file.sync_all()?;
        let (queue, waiting) = mpsc::channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut next = 0;
            while let Ok(first) = waiting.recv() {
                let group: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
                for _ in &group {
                    write_page(&file, next % PAGES)?;
                    next += 1;
                }
                file.sync_data()?;
                for answer in group {
                    // A request that nobody waits for any more.
                    let _ = answer.send(());
                }
            }
            Ok(())
        });
        Ok(Self(queue))
    }

    /// Returns once a page of the caller's is durable.
    pub(crate) async fn flush(&self) -> anyhow::Result<()> {
        let (answer, durable) = oneshot::channel();
        self.0.send(answer).ok().context("the thread that flushes has ended")?;
        durable.await.context("the disk took no more")
    }
}

fn write_page(file: &File, page: u64) -> std::io::Result<()> {
    file.write_all_at(&PAGE, page * PAGE.len() as u64)
}
