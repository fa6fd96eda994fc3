//! Taxpayers: they learn of a notice when its row is EMITTED, as the application tells them, and then most pay, some have it
//! canceled at the counter, some do nothing. A notice that nobody was told of is paid by nobody.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{database::Database, platform::Platform};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Rows looked at in one go.
const AT_ONCE: i64 = 200;

/// Acts until it is aborted.
pub(crate) async fn act(platform: Arc<Platform>, database: PathBuf, seed: u64) -> anyhow::Result<()> {
    let mut database = Database::open(&database).await?;
    let mut last = 0;
    loop {
        for (transition, reference) in database.emitted_since(last, AT_ONCE).await? {
            last = transition;
            let mind =
                reference.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            match fastrand::Rng::with_seed(mind).u32(0..20) {
                0..16 => platform.act("pay", &reference).await?,
                16..18 => platform.act("cancel", &reference).await?,
                _ => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
