//! `list --sort`: rows in the order of a column.

use anyhow::anyhow;
use clap::ValueEnum;

use super::{BATCH, DEFAULT_LIMIT, ListArgs, print_rows};
use crate::{
    cli::{Failure, output::Output},
    clock::Timestamp,
    store::inspect::{Inspect, Sort, SortedRequest},
};

/// Ids that are found at once: so many are held in memory, and no more.
const IDS: i64 = 100_000;

/// What `--sort` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Key {
    /// The time of creation, the newest first
    Created,
    /// The last change, the newest first
    Updated,
    /// The amount, the greatest first
    Amount,
    /// The reference, from A to Z
    Reference,
}

impl Key {
    const fn sort(self) -> Sort {
        match self {
            Self::Created => Sort::Created,
            Self::Updated => Sort::Updated,
            Self::Amount => Sort::Amount,
            Self::Reference => Sort::Reference,
        }
    }

    /// As it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Amount => "amount",
            Self::Reference => "reference",
        }
    }
}

/// Prints a page; the id of its last row if there may be more.
pub(super) async fn page(
    inspect: &Inspect,
    args: &ListArgs,
    key: Key,
    flagged_since: Timestamp,
    output: &mut Output,
) -> Result<Option<i64>, Failure> {
    let mut left = args.limit.unwrap_or(DEFAULT_LIMIT);
    let mut request = SortedRequest {
        sort: key.sort(),
        reverse: args.reverse,
        status: args.status,
        changed_after: args.since,
        drifted: args.drift.then_some(flagged_since),
        after: args.after,
        limit: 0,
    };
    let mut first = true;
    while left > 0 && !output.is_closed() {
        request.limit = left.min(IDS);
        let Some(ids) = inspect.sorted(request).await.map_err(anyhow::Error::new)? else {
            let after = request.after.unwrap_or_default();
            return Err(anyhow!("--after {after}: no row has this id; begin again without --after").into());
        };
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
            let rows = inspect.rows(ids).await.map_err(anyhow::Error::new)?;
            print_rows(&rows, args, first, output)?;
            first = false;
            if output.is_closed() {
                return Ok(None);
            }
        }
        let found = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let Some(last) = ids.last().filter(|_| found == request.limit) else {
            if first {
                print_rows(&[], args, true, output)?;
            }
            return Ok(None);
        };
        request.after = Some(*last);
        left -= found;
    }
    Ok(request.after)
}
