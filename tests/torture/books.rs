//! The report against an addition of its own: `tresorpayd report` over everything, the rows added up one by one, and the
//! platform's ledger come to the same franc.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    database::Row,
    platform::Ledger,
    verdict::{Kind, Verdict},
    world::World,
};

/// A count and an amount.
type Sum = (i64, i64);

/// Compares the three.
pub(crate) fn audit(world: &mut World, rows: &[Row], ledger: &Ledger) -> anyhow::Result<()> {
    let report: Value = serde_json::from_str(&world.installation.report()?)?;
    let verdict = &mut world.verdict;
    for (figure, status) in [("revenue", "PAID"), ("outstanding", "EMITTED"), ("in_doubt", "UNCERTAIN")] {
        let own = added(rows.iter().filter(|row| row.status == status).map(|row| row.net_total));
        compare(verdict, figure, own, sum(&report["total"][figure]));
    }
    let paid = ledger.notices.iter().filter(|notice| notice.status == "PAID");
    compare(
        verdict,
        "revenue in the ledger",
        added(paid.map(|notice| notice.net_total)),
        sum(&report["total"]["revenue"]),
    );
    let canceled = added(rows.iter().filter(|row| row.status == "CANCELED").map(|row| row.net_total));
    let (of_emitted, withdrawn) = (sum(&report["total"]["canceled"]), sum(&report["withdrawn"]));
    compare(verdict, "canceled", canceled, (of_emitted.0 + withdrawn.0, of_emitted.1 + withdrawn.1));
    let splits = [("by_nature", by_nature(rows)?), ("by_provider", by_provider(rows))];
    for (table, own) in splits {
        for (key, own) in own {
            let entry = report[table]
                .as_array()
                .into_iter()
                .flatten()
                .find(|row| row["key"].as_str() == key.as_deref());
            let told = entry.map_or(0, |row| sum(&row["revenue"]).1);
            compare(verdict, &format!("revenue {table} {key:?}"), (0, own), (0, told));
        }
    }
    verdict.figure(format!(
        "the report: {} XOF paid by {} notices, {} XOF outstanding; corrections of {} XOF",
        report["total"]["revenue"]["amount"],
        report["total"]["revenue"]["count"],
        report["total"]["outstanding"]["amount"],
        report["total"]["corrections"]["amount"]
    ));
    Ok(())
}

fn compare(verdict: &mut Verdict, what: &str, own: Sum, told: Sum) {
    if own != told {
        verdict.find(Kind::Amount, format!("the report's {what} is {told:?}, the rows come to {own:?}"));
    }
}

fn sum(value: &Value) -> Sum {
    (value["count"].as_i64().unwrap_or(i64::MIN), value["amount"].as_i64().unwrap_or(i64::MIN))
}

fn added(amounts: impl Iterator<Item = i64>) -> Sum {
    amounts.fold((0, 0), |(count, sum), amount| (count + 1, sum + amount))
}

fn by_nature(rows: &[Row]) -> anyhow::Result<BTreeMap<Option<String>, i64>> {
    let mut sums = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status == "PAID") {
        let items: Vec<Value> = serde_json::from_str(&row.items)?;
        for item in items {
            let nature = item["codeNatureRecette"].as_str().map(str::to_owned);
            let amount = item["quantity"].as_i64().unwrap_or(0) * item["unitPrice"].as_i64().unwrap_or(0);
            *sums.entry(nature).or_default() += amount;
        }
    }
    Ok(sums)
}

fn by_provider(rows: &[Row]) -> BTreeMap<Option<String>, i64> {
    let mut sums = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status == "PAID") {
        *sums.entry(row.provider.clone()).or_default() += row.net_total;
    }
    sums
}
