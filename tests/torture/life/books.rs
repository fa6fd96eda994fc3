//! Everything that is audited, read once: the database, the ledger, the receipts on the disk and as the platform serves
//! them, what the application was told, and what the clerk did.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    RECEIPTS,
    called::Called,
    log::{Done, Log},
};
use crate::{audit::Books, database::Asked, options::Policy, platform::Ledger, world::World};

/// All of it.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) policy: Policy,
    pub(crate) books: Books,
    pub(crate) commands: Vec<Asked>,
    /// Emission is paused, at the end.
    pub(crate) paused: bool,
    pub(crate) ledger: Ledger,
    /// Below the receipts' folder, by path.
    pub(crate) files: BTreeMap<String, Kept>,
    /// Receipts of paid notices, by TresorPay's reference.
    pub(crate) served: BTreeMap<String, Vec<u8>>,
    /// How often the application was told of a payment, by its own reference.
    pub(crate) called: BTreeMap<String, u32>,
    pub(crate) done: Done,
}

/// A file.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

impl Life {
    /// Reads everything; no daemon runs.
    pub(crate) async fn read(world: &mut World, log: &Log, called: &Called) -> anyhow::Result<Self> {
        let books = Books::read(&mut world.database).await?;
        let ledger = world.platform.ledger().await?;
        let paid: Vec<&str> = ledger
            .notices
            .iter()
            .filter(|notice| notice.status == "PAID")
            .map(|notice| &*notice.reference)
            .collect();
        let served = world.platform.receipts(&paid).await?;
        let mut files = BTreeMap::new();
        let receipts = world.installation.folder().join(RECEIPTS);
        collect(&receipts, &receipts, &mut files)?;
        let paused = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'paused')";
        Ok(Self {
            policy: world.policy,
            books,
            commands: world.database.commands().await?,
            paused: world.database.number(paused).await? != 0,
            ledger,
            files,
            served,
            called: called.taken(),
            done: log.read().clone(),
        })
    }

    /// What there was to audit.
    pub(crate) fn figures(&self) -> Vec<String> {
        let mut commands = BTreeMap::<(&str, &str), u32>::new();
        for asked in &self.commands {
            let outcome = asked.outcome.as_deref().unwrap_or("open");
            *commands.entry((&asked.action, outcome)).or_default() += 1;
        }
        let actions: BTreeSet<_> = commands.keys().map(|(action, _)| *action).collect();
        let told = |action| {
            let of = |outcome| commands.get(&(action, outcome)).copied().unwrap_or_default();
            format!("{action} {} done, {} refused", of("done"), of("refused"))
        };
        let actions: Vec<_> = actions.into_iter().map(told).collect();
        let rows = &self.books.rows;
        let confirmed = rows.iter().filter(|row| row.delivery_confirmed_at.is_some()).count();
        let mut drifts = BTreeMap::<String, u32>::new();
        for planted in &self.done.planted {
            *drifts.entry(format!("{:?}", planted.drift)).or_default() += 1;
        }
        let drifts: Vec<_> = drifts.iter().map(|(drift, count)| format!("{count} {drift}")).collect();
        let by_reconciliation =
            self.books.transitions.iter().filter(|step| step.source == "reconcile").count();
        vec![
            format!("{} commands: {}", self.commands.len(), actions.join("; ")),
            format!(
                "{} receipts, {} payments told to the application in {} calls, {confirmed} deliveries confirmed",
                self.files.len(),
                self.called.len(),
                self.called.values().sum::<u32>()
            ),
            format!(
                "the platform changed its mind {} times ({}); reconciliation recorded {by_reconciliation}",
                self.done.planted.len(),
                drifts.join(", ")
            ),
        ]
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Kept>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let mode = entry.metadata()?.permissions().mode() & 0o7777;
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        files.insert(name, Kept { bytes: std::fs::read(&path)?, mode });
    }
    Ok(())
}
