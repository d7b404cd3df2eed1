//! What goes wrong when: drawn from a seed alone.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use streams::topology::ACK_WAIT;

use super::Profile;
use super::line::Trouble;

/// What can be killed, or stopped for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Target {
    Gateway,
    CommandApi,
    QueryApi,
    Projector,
    Saga,
    Reactor,
    Nats,
    Postgres,
}

impl Target {
    pub(super) const ALL: [Self; 8] = [
        Self::Gateway,
        Self::CommandApi,
        Self::QueryApi,
        Self::Projector,
        Self::Saga,
        Self::Reactor,
        Self::Nats,
        Self::Postgres,
    ];

    /// Those that are Millrace.
    pub(crate) const ROLES: [Self; 6] = [
        Self::Gateway,
        Self::CommandApi,
        Self::QueryApi,
        Self::Projector,
        Self::Saga,
        Self::Reactor,
    ];
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// kill −9, and a start at the end.
    Kill(Target),
    /// It neither works nor ends: SIGSTOP, and SIGCONT at the end.
    Freeze(Target),
    /// A second one beside it, which is told to end at the end.
    Double(Target),
    /// A second one beside it while it is stopped for longer than a delivery may be in anybody's hands.
    Outlive(Target),
    /// The line between a role and a server goes bad.
    Line((Target, Target), Trouble),
    /// The durables that sagas and reactors hear from: some are held back in turn, and each tells all of it once
    /// more.
    Durables,
    /// NATS has no room left for anything.
    Full,
    /// An order to the payment provider.
    Provider(Value),
    /// An order to the mail server.
    Mail(Value),
}

/// One fault at its time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strike {
    /// After the start.
    pub(super) at: Duration,
    pub(super) fault: Fault,
    /// How long it lasts; what is ordered from the outside lasts for so many calls instead.
    pub(super) lasts: Duration,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        match &self.fault {
            Fault::Kill(target) => write!(f, "{at:6.1} s  kill -9 {target}, away for {lasts:.1} s"),
            Fault::Freeze(target) => write!(f, "{at:6.1} s  stop {target} for {lasts:.1} s"),
            Fault::Double(target) => write!(f, "{at:6.1} s  a second {target} for {lasts:.1} s"),
            Fault::Outlive(target) => {
                write!(
                    f,
                    "{at:6.1} s  stop {target} for {lasts:.1} s beside a second one"
                )
            }
            Fault::Line((role, server), trouble) => {
                write!(
                    f,
                    "{at:6.1} s  the line from {role} to {server} {trouble} for {lasts:.1} s"
                )
            }
            Fault::Durables => write!(f, "{at:6.1} s  durables pause, and begin anew"),
            Fault::Full => write!(f, "{at:6.1} s  nats is full for {lasts:.1} s"),
            Fault::Provider(order) => write!(f, "{at:6.1} s  provider: {order}"),
            Fault::Mail(order) => write!(f, "{at:6.1} s  mail server: {order}"),
        }
    }
}

/// The schedule of a seed.
pub(super) fn draw(seed: u64, profile: &Profile) -> Vec<Strike> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut at = Duration::ZERO;
    let mut strikes = Vec::new();
    for number in 0..profile.rounds {
        let mut faults = round(&mut chance);
        if number == 0 {
            // Once: the log grows, and all of it is told anew.
            faults.insert(1, Fault::Durables);
        }
        for fault in faults {
            at += millis(&mut chance, profile.gap_ms.clone());
            let lasts = match fault {
                Fault::Kill(_) => millis(&mut chance, 0..=1_500),
                Fault::Freeze(_) | Fault::Double(_) | Fault::Line(..) => {
                    millis(&mut chance, 1_000..=6_000)
                }
                Fault::Outlive(_) => ACK_WAIT + millis(&mut chance, 1_000..=2_000),
                Fault::Durables | Fault::Full => millis(&mut chance, 1_000..=3_000),
                Fault::Provider(_) | Fault::Mail(_) => Duration::ZERO,
            };
            strikes.push(Strike { at, fault, lasts });
        }
    }
    strikes
}

/// Everybody dies once, in any order, among other things.
fn round(chance: &mut StdRng) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Target::ALL.map(Fault::Kill).into();
    faults.extend((0..2).map(|_| Fault::Freeze(one_of(chance, &Target::ALL))));
    faults.push(Fault::Double(one_of(chance, &Target::ROLES[1..])));
    faults.extend((0..3).map(|_| Fault::Provider(call(chance))));
    faults.extend((0..2).map(|_| Fault::Provider(webhook(chance))));
    faults.extend((0..2).map(|_| Fault::Mail(mail(chance))));
    for _ in 0..2 {
        let line = (one_of(chance, &Target::ROLES), Target::Nats);
        faults.push(Fault::Line(line, one_of(chance, &Trouble::ALL)));
    }
    let reads = [Target::QueryApi, Target::Projector];
    let line = (one_of(chance, &reads), Target::Postgres);
    faults.push(Fault::Line(line, one_of(chance, &Trouble::ALL)));
    faults.push(Fault::Full);
    faults.shuffle(chance);
    // What takes long goes on beside the others.
    let workers = [Target::Projector, Target::Saga, Target::Reactor];
    faults.insert(0, Fault::Outlive(one_of(chance, &workers)));
    faults
}

/// A call of the provider's API that fails, takes long, or was done though it seems to have failed.
fn call(chance: &mut StdRng) -> Value {
    let operation = one_of(chance, &["create", "confirm", "capture", "refund", "any"]);
    let when = one_of(chance, &["before", "after"]);
    let times: u32 = chance.random_range(1..=6);
    match one_of(
        chance,
        &["timeout", "reset", "error_500", "error_429", "delay"],
    ) {
        "delay" => {
            let delay_ms: u32 = chance.random_range(200..=3_000);
            json!({
                "operation": operation, "when": when, "effect": "delay", "delay_ms": delay_ms,
                "times": times,
            })
        }
        effect => {
            json!({ "operation": operation, "when": when, "effect": effect, "times": times })
        }
    }
}

/// What the provider tells by itself comes twice, late, in the wrong order, forged or never.
fn webhook(chance: &mut StdRng) -> Value {
    let times: u32 = chance.random_range(1..=6);
    let effect = one_of(
        chance,
        &["duplicate", "delay", "out_of_order", "forged", "drop"],
    );
    let mut order = json!({ "operation": "webhook", "effect": effect, "times": times });
    if matches!(effect, "delay" | "out_of_order") {
        order["delay_ms"] = json!(chance.random_range(200..=5_000));
    }
    order
}

/// Refused for now, or cut off: also after the mail was taken.
fn mail(chance: &mut StdRng) -> Value {
    let stage = one_of(
        chance,
        &["connect", "mail_from", "rcpt_to", "data", "after_data"],
    );
    let effect = one_of(chance, &["reject_4xx", "drop"]);
    let times: u32 = chance.random_range(1..=6);
    json!({ "stage": stage, "effect": effect, "times": times })
}

fn one_of<T: Copy>(chance: &mut StdRng, choices: &[T]) -> T {
    *choices.choose(chance).unwrap()
}

fn millis(chance: &mut StdRng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(chance.random_range(range))
}

#[test]
fn the_same_seed_is_the_same_schedule_and_everybody_dies_in_it() {
    for profile in [Profile::SHORT, Profile::LONG] {
        let drawn = draw(7, &profile);
        assert_eq!(drawn, draw(7, &profile));
        assert_ne!(drawn, draw(8, &profile));
        let kills = |target| {
            let kill = Fault::Kill(target);
            drawn.iter().filter(|strike| strike.fault == kill).count()
        };
        assert_eq!(Target::ALL.map(kills), [profile.rounds; 8]);
        let count = |wanted: fn(&Fault) -> bool| {
            let found = drawn.iter().filter(|strike| wanted(&strike.fault));
            found.count()
        };
        assert_eq!(count(|fault| *fault == Fault::Durables), 1);
        assert_eq!(count(|fault| *fault == Fault::Full), profile.rounds);
        let lines = count(|fault| matches!(fault, Fault::Line(..)));
        assert_eq!(lines, 3 * profile.rounds);
        let outlived = count(|fault| matches!(fault, Fault::Outlive(_)));
        assert_eq!(outlived, profile.rounds);
    }
    let kills = Profile::LONG.rounds * Target::ALL.len();
    assert!(kills >= 100, "{kills}");
}
