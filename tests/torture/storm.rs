//! Faults of the platform, as rules of the simulator's control API. Each keeps to what the contract's table assumes of a
//! platform: what it says was not created was not (429, the API's own refusals, a proxy's 403).

use serde_json::{Value, json};

use crate::options::Policy;

/// A request carried out too late still comes sooner than this, in milliseconds; `emit.settle_after` waits longer.
pub(crate) const LATEST_MS: u64 = 1_500;

/// One rule.
pub(crate) fn draw(rng: &mut fastrand::Rng, policy: Policy) -> Value {
    let operation = operation(rng, policy);
    let mut rule = match operation {
        "token" => token(rng),
        "batch" | "status" => status(rng),
        _ => money(rng),
    };
    rule["operation"] = operation.into();
    // Seldom and for every one: what strikes all is an outage, what strikes some is confusing.
    rule["probability"] = rng.choice([0.02, 0.1, 0.3, 0.7, 1.0]).unwrap_or(1.0).into();
    rule
}

fn operation(rng: &mut fastrand::Rng, policy: Policy) -> &'static str {
    match rng.u32(0..20) {
        0..2 => "token",
        2..4 => "batch",
        4..5 => "status",
        5..9 if policy == Policy::Cancel => "cancel",
        _ => "emit",
    }
}

/// An answer that may bill, or not.
fn money(rng: &mut fastrand::Rng) -> Value {
    let processed = rng.bool();
    let by = rng.choice(["rst", "close"]).unwrap_or("rst");
    let garbage = [
        "empty",
        "html",
        "not_json",
        "no_reference",
        "null_reference",
        "blank_reference",
        "number_reference",
        "long_reference",
        "control_reference",
    ];
    match rng.u32(0..21) {
        0 => json!({"fault": "status", "code": 429, "retry_after": rng.choice(["0", "1", "2"])}),
        1 => json!({"fault": "status", "code": 429, "body": "html"}),
        2 => json!({"fault": "status", "code": 503, "retry_after": "1"}),
        3 => {
            json!({"fault": "status", "code": 503, "retry_after": "1", "body": "html", "processed": processed})
        }
        4 => json!({"fault": "status", "code": 503, "body": "html", "processed": processed}),
        5 => json!({"fault": "status", "code": rng.choice([500, 502, 504, 408]), "processed": processed}),
        6 => json!({"fault": "status", "code": 500, "body": "empty", "processed": processed}),
        7 => json!({"fault": "status", "code": 400, "message": "error.SERVICE_CLIENT_NOT_FOUND"}),
        8 => json!({"fault": "status", "code": rng.choice([403, 404, 407]), "body": "html"}),
        9 => json!({"fault": "redirect", "code": rng.choice([301, 302, 307, 308])}),
        10 => json!({"fault": "redirect", "code": 303, "processed": processed}),
        11 => json!({"fault": "lost", "processed": processed}),
        12 => json!({"fault": "reset_before", "by": by}),
        13 => json!({"fault": "reset_after", "by": by}),
        14 => json!({"fault": "truncated"}),
        15 => json!({"fault": "slow_drip", "ms": 20, "bytes": rng.u64(1..9)}),
        16 => json!({"fault": "garbage", "body": rng.choice(garbage), "processed": processed}),
        17 => {
            json!({"fault": "too_late", "ms": rng.u64(10..LATEST_MS), "meanwhile": rng.choice(["silent", "rst"])})
        }
        19 => json!({"fault": "garbage", "body": "canceled"}),
        18 => json!({"fault": "latency", "ms": rng.u64(50..1_500), "jitter_ms": 500}),
        _ => json!({"fault": rng.choice(["no_endpoint", "unknown_status", "revoked_token"])}),
    }
}

/// An answer to a status request.
fn status(rng: &mut fastrand::Rng) -> Value {
    match rng.u32(0..7) {
        0 => json!({"fault": "status", "code": rng.choice([429, 503]), "retry_after": "1"}),
        1 => json!({"fault": "status", "code": rng.choice([500, 502, 403, 404]), "body": "html"}),
        2 => json!({"fault": "unknown_status"}),
        3 => json!({"fault": "truncated"}),
        4 => {
            json!({"fault": "garbage", "body": rng.choice(["empty", "html", "not_json", "number_reference"])})
        }
        5 => json!({"fault": "no_endpoint"}),
        _ => json!({"fault": "reset_after"}),
    }
}

/// An answer of the token endpoint.
fn token(rng: &mut fastrand::Rng) -> Value {
    match rng.u32(0..4) {
        0 => json!({"fault": "status", "code": rng.choice([401, 429, 500, 503])}),
        1 => json!({"fault": "garbage", "body": rng.choice(["empty", "html", "no_reference"])}),
        2 => json!({"fault": "lost"}),
        _ => json!({"fault": "reset_before"}),
    }
}
